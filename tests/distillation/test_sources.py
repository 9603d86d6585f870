"""What a student learns from: losses of batches against a plain loop over sentences, words aligned across tokenizers.

Teacher and student never share a piece here: a BERT over letter pairs or an XLM-R over SentencePiece, and a student
over single letters. Student and loop are compared in evaluation mode, without dropout.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.tiny_student import VOCABULARY, make_tokenizer
from support.tiny_teacher import LAYERS, SCHEME, WIDTH, load, save_bert, save_xlm_roberta
from torch.nn import functional
from transformers import AutoTokenizer

from xtremedistil_ner.corpus.sentence import Sentence
from xtremedistil_ner.distillation.losses import cosine_distance, posterior_loss, soft_cross_entropy, state_divergence
from xtremedistil_ner.distillation.sources import Distillation, student_windows
from xtremedistil_ner.errors import CorpusError
from xtremedistil_ner.labels import to_iob2
from xtremedistil_ner.models.bilstm import BiLstm, BiLstmShape
from xtremedistil_ner.models.crf import Crf
from xtremedistil_ner.models.linear_chain import WordRows, legal_transitions
from xtremedistil_ner.models.teacher import teacher_predictor
from xtremedistil_ner.pieces.encoder import PieceEncoder
from xtremedistil_ner.pieces.predictor import compute_word_logits
from xtremedistil_ner.processes.world import Processes
from xtremedistil_ner.run_folder.soft_labels import open_store, seal_store, write_shard

SAVERS = {"bert": save_bert, "xlm-roberta": save_xlm_roberta}
N_TAGS = len(SCHEME.tags)
LAYER = 2
SHORT = [["ab", "cde", "a"], ["abcde", "\u200b", "b"], ["e"], ["bcd", "ea", "dd", "c"]]
LONG = [["abc", "de", "a", "bb"] * 5, ["e", "ab"], ["c\u200bd", "\u200b", "eab"] * 5]
"""More pieces than a window of the student: 40 and 25, of which a window holds 12."""
WINDOW = 12
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(params=SAVERS)
def teacher(request, tmp_path):
    return load(SAVERS[request.param](tmp_path / "teacher"), max_pieces=40)


def make_network(head="projected", *, crf=None):
    torch.manual_seed(4)
    shape = BiLstmShape(len(VOCABULARY), 5, 7, WIDTH, N_TAGS, head, 0.2)
    network = BiLstm(shape, with_projection=True, crf=crf).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.7)
    return network


def write_store(folder, teacher, sentences, *, uncovered=(), languages=("xx", "xx")):
    """A store in two shards, each of a language; words at the flat positions `uncovered` have no piece."""
    result = compute_word_logits(
        teacher_predictor(teacher, torch.float32), teacher.encoder, sentences, n_tags=N_TAGS, batch_pieces=200
    )
    result.covered[list(uncovered)] = False
    cut = len(sentences) // 2
    middle = int(result.offsets[cut])
    parts = [(sentences[:cut], slice(0, middle)), (sentences[cut:], slice(middle, None))]
    for number, (part, words) in enumerate(parts):
        logits, covered = result.logits[words], result.covered[words]
        write_shard(folder / f"xx-{number}", part, logits, covered, language=languages[number], fingerprint="f")
    seal_store(folder, ["xx-0", "xx-1"], fingerprint="f", tags=SCHEME.tags, counts={})
    return open_store(folder)


def open_distillation(
    folder,
    teacher,
    sentences,
    *,
    max_pieces=80,
    uncovered=(),
    languages=("xx", "xx"),
    head="projected",
    gold=(),
    crf=None,
    **losses,
):
    store = write_store(folder / "store", teacher, sentences, uncovered=uncovered, languages=languages)
    encoder = PieceEncoder(make_tokenizer(), max_pieces=max_pieces, pad_id=0)
    transfer = encoder.encode([words for chunk in store.sentences() for words in chunk])
    return Distillation(
        network=make_network(head, crf=crf),
        encoder=encoder,
        gold=gold,
        transfer=transfer,
        windows=teacher.encoder.encode([words for chunk in student_windows(transfer, store) for words in chunk]),
        store=store,
        teacher=teacher,
        teacher_layer=LAYER,
        dtype=torch.float32,
        batch=3,
        seed=0,
        **losses,
    )


def student_states(network, words):
    """States at the first piece of every word of one sentence, alone in its batch; None for a word without a piece."""
    tokenizer = make_tokenizer()
    pieces = [tokenizer.encode(word, add_special_tokens=False).ids for word in words]
    ids = torch.tensor([[piece for part in pieces for piece in part]])
    hidden = network.hidden(ids, torch.ones_like(ids))[0] if ids.numel() else None
    starts = np.cumsum([0, *map(len, pieces)])
    return [hidden[start] if part else None for start, part in zip(starts, pieces, strict=False)]


def teacher_outputs(teacher, words):
    """Logits and states at the first piece of every word, by transformers' own calls; None where there is no piece."""
    tokenizer = teacher.tokenizer
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        output = teacher.model(encoded["input_ids"], output_hidden_states=True)
    word_of = encoded.word_ids()
    firsts = [word_of.index(word) if word in word_of else None for word in range(len(words))]
    logits, states = output.logits[0], output.hidden_states[LAYER][0]
    return [None if first is None else (logits[first].half().float(), states[first]) for first in firsts]


def loss_of_word(name, network, state, logits, states):
    if name == "hard":
        return functional.cross_entropy(network.classify(state), logits.argmax())
    if name == "logits":
        return (network.classify(state) - logits).pow(2).mean()
    return (network.represent(state) - states).pow(2).mean()


def looped_loss(name, distillation, sentences):
    """The sum over words that both tokenizers cover, and their number, one sentence at a time."""
    total, count = 0.0, 0
    for words in sentences:
        ours, theirs = student_states(distillation.network, words), teacher_outputs(distillation.teacher, words)
        for state, outputs in zip(ours, theirs, strict=True):
            if state is not None and outputs is not None:
                total = total + loss_of_word(name, distillation.network, state, *outputs)
                count += 1
    return total, count


@pytest.mark.parametrize("name", ["hard", "logits", "representation"])
def test_a_batchs_loss_is_that_of_a_loop_over_sentences(tmp_path, teacher, name):
    distillation = open_distillation(tmp_path, teacher, SHORT)
    source = distillation.source(name)
    expected, count = looped_loss(name, distillation, SHORT)
    assert source.words.tolist() == [3, 2, 1, 4]
    assert count == 10
    order = np.array([3, 0, 2, 1])
    assert source.loss(order).item() == pytest.approx(expected.item(), rel=1e-3)
    parts = sum(source.loss(part).item() for part in np.split(order, [1, 3]))
    assert parts == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("name", ["hard", "logits", "representation"])
def test_a_batchs_gradient_is_that_of_a_loop_over_sentences(tmp_path, teacher, name):
    distillation = open_distillation(tmp_path, teacher, SHORT)
    network = distillation.network
    distillation.source(name).loss(np.arange(4)).backward()
    found = {key: value.grad for key, value in network.named_parameters()}
    network.zero_grad(set_to_none=True)
    looped_loss(name, distillation, SHORT)[0].backward()
    for key, value in network.named_parameters():
        if value.grad is None:
            assert found[key] is None, key
        else:
            assert torch.allclose(found[key], value.grad, rtol=1e-2, atol=1e-2), key


@pytest.mark.parametrize("head", ["projected", "direct"])
def test_the_gold_loss_is_that_of_a_loop_over_sentences(tmp_path, head):
    teacher = load(save_bert(tmp_path / "teacher"))
    tags = [("B-PER", "I-PER", "O"), ("O", "B-LOC", "B-PER"), ("B-LOC",), ("O", "O", "B-LOC", "I-LOC")]
    gold = [Sentence(str(i), "xx", tuple(w), t) for i, (w, t) in enumerate(zip(SHORT, tags, strict=True))]
    distillation = open_distillation(tmp_path, teacher, SHORT[:2], head=head, gold=gold)
    source = distillation.source("labels")
    assert source.words.tolist() == [3, 2, 1, 4]
    expected = 0.0
    for sentence in gold:
        for state, tag in zip(student_states(distillation.network, sentence.words), sentence.tags, strict=True):
            if state is not None:
                logits = distillation.network.classify(state)
                expected += functional.cross_entropy(logits, torch.tensor(SCHEME.tag_id(tag))).item()
    assert source.loss(np.array([2, 0, 3, 1])).item() == pytest.approx(expected, rel=1e-4)


def test_sentences_longer_than_a_window_teach_every_word_once(tmp_path, teacher):
    """Each window is read alone; the loop goes by window and looks the teacher's logits up by sentence and word."""
    distillation = open_distillation(tmp_path, teacher, LONG, max_pieces=WINDOW)
    encoded, network = distillation.transfer, distillation.network
    assert encoded.n_rows > len(LONG) + 4
    logits = [teacher_outputs(teacher, words) for words in LONG]
    expected, taught = 0.0, []
    for row in range(encoded.n_rows):
        sentence, first = int(encoded.sentence[row]), int(encoded.first_word[row])
        kept = encoded.kept[encoded.word_offsets[row] : encoded.word_offsets[row + 1]]
        states = student_states(network, LONG[sentence][first : first + len(kept)])
        for place, (state, keep) in enumerate(zip(states, kept, strict=True)):
            theirs = logits[sentence][first + place]
            if keep and state is not None and theirs is not None:
                taught.append((sentence, first + place))
                expected += functional.cross_entropy(network.classify(state), theirs[0].argmax()).item()
    with_piece = [(s, w) for s, words in enumerate(LONG) for w, word in enumerate(words) if word != "\u200b"]
    assert sorted(taught) == with_piece
    source = distillation.source("hard")
    assert source.words.sum() == len(with_piece)
    rows = np.random.default_rng(0).permutation(len(source.words))
    assert source.loss(rows).item() == pytest.approx(expected, rel=1e-3)


def test_the_teacher_reads_the_window_that_the_student_reads(tmp_path, teacher):
    distillation = open_distillation(tmp_path, teacher, LONG, max_pieces=WINDOW)
    encoded, network = distillation.transfer, distillation.network
    expected = 0.0
    for row in range(encoded.n_rows):
        sentence, first = int(encoded.sentence[row]), int(encoded.first_word[row])
        kept = encoded.kept[encoded.word_offsets[row] : encoded.word_offsets[row + 1]]
        window = LONG[sentence][first : first + len(kept)]
        ours, theirs = student_states(network, window), teacher_outputs(teacher, window)
        for state, outputs, keep in zip(ours, theirs, kept, strict=True):
            if keep and state is not None and outputs is not None:
                expected += loss_of_word("representation", network, state, *outputs).item()
    source = distillation.source("representation")
    assert source.loss(np.arange(len(source.words))).item() == pytest.approx(expected, rel=1e-3)


def test_a_teacher_with_shorter_windows_than_the_student_compares_each_word_once(tmp_path):
    """The loop reads each of the teacher's windows alone."""
    teacher = load(save_bert(tmp_path / "teacher"), max_pieces=9)
    sentences = [*LONG, *SHORT]
    distillation = open_distillation(tmp_path, teacher, sentences)
    assert distillation.transfer.n_rows == len(sentences)
    assert distillation.windows.n_rows > len(sentences) + 4
    expected = 0.0
    for words in sentences:
        encoded, ours = teacher.encoder.encode([words]), student_states(distillation.network, words)
        for row in range(encoded.n_rows):
            batch = teacher.encoder.collate(encoded, np.array([row]))
            with torch.no_grad():
                states = teacher.model.base_model(torch.from_numpy(batch.input_ids), output_hidden_states=True)
            for place in np.flatnonzero(batch.word_mask[0]):
                state = ours[encoded.first_word[row] + place]
                target = states.hidden_states[LAYER][0, batch.first_piece[0, place]]
                expected += 0.0 if state is None else (distillation.network.represent(state) - target).pow(2).mean()
    order = np.random.default_rng(0).permutation(len(sentences))
    assert distillation.source("representation").loss(order).item() == pytest.approx(expected.item(), rel=1e-3)


def test_neither_updates_nor_looks_tokenise(tmp_path, monkeypatch):
    """Everything is encoded before: a tokenizer would cost more than all other work of the host."""
    distillation = open_distillation(tmp_path, load(save_bert(tmp_path / "teacher")), SHORT)
    source, error = distillation.source("representation"), distillation.representation_error(SHORT, ALONE)
    monkeypatch.delattr(PieceEncoder, "encode")
    source.loss(np.arange(4)).backward()
    with torch.inference_mode():
        assert error() == error() > 0


@pytest.mark.parametrize("name", ["hard", "logits"])
def test_words_that_the_teacher_did_not_cover_never_count(tmp_path, name):
    """Words 0 and 6 (the only one of its sentence) are marked so: 8 of 10 are left, and three rows."""
    teacher = load(save_bert(tmp_path / "teacher"))
    distillation = open_distillation(tmp_path, teacher, SHORT, uncovered=(0, 6))
    source = distillation.source(name)
    assert source.words.tolist() == [2, 2, 4]
    everything = open_distillation(tmp_path / "all", teacher, SHORT).source(name)
    states = student_states(distillation.network, SHORT[0])[0], student_states(distillation.network, SHORT[2])[0]
    outputs = teacher_outputs(teacher, SHORT[0])[0], teacher_outputs(teacher, SHORT[2])[0]
    left_out = sum(
        loss_of_word(name, distillation.network, state, *output).item()
        for state, output in zip(states, outputs, strict=True)
    )
    difference = everything.loss(np.arange(4)).item() - source.loss(np.arange(3)).item()
    assert difference == pytest.approx(left_out, rel=1e-3)


def test_the_words_of_a_source_are_those_in_its_loss(tmp_path, teacher):
    """A classifier of zeros costs ln(tags) a word."""
    distillation = open_distillation(tmp_path, teacher, SHORT + LONG, max_pieces=WINDOW, uncovered=(1, 2, 30))
    with torch.no_grad():
        distillation.network.classifier.weight.zero_()
        distillation.network.classifier.bias.zero_()
    source = distillation.source("hard")
    for row, words in enumerate(source.words.tolist()):
        assert source.loss(np.array([row])).item() == pytest.approx(words * math.log(N_TAGS), rel=1e-5)


@pytest.mark.parametrize("sentences", [SHORT, [["\u200b"], *SHORT]])
def test_the_representation_error_is_the_mean_over_words(tmp_path, teacher, sentences):
    distillation = open_distillation(tmp_path, teacher, SHORT)
    total, count = looped_loss("representation", distillation, SHORT)
    with torch.inference_mode():
        found = distillation.representation_error(sentences, ALONE)()
    assert found == pytest.approx(total.item() / count, rel=1e-3)


@pytest.mark.parametrize(("kind", "loss"), [("cosine", cosine_distance), ("kld", state_divergence)])
def test_the_representation_loss_that_was_chosen_compares_the_states(tmp_path, kind, loss):
    """In training and in selection; the loss itself is held elsewhere, on the pairs of states that a loop finds."""
    teacher = load(save_bert(tmp_path / "teacher"))
    distillation = open_distillation(tmp_path, teacher, SHORT, representation_loss=kind)
    ours, theirs = [], []
    for words in SHORT:
        for state, outputs in zip(
            student_states(distillation.network, words), teacher_outputs(teacher, words), strict=True
        ):
            if state is not None and outputs is not None:
                ours.append(distillation.network.represent(state))
                theirs.append(outputs[1])
    expected = loss(torch.stack(ours), torch.stack(theirs)).item()
    assert distillation.source("representation").loss(np.arange(4)).item() == pytest.approx(expected, rel=1e-3)
    with torch.inference_mode():
        assert distillation.representation_error(SHORT, ALONE)() == pytest.approx(expected / len(ours), rel=1e-3)


def taught_words(distillation, teacher, rows):
    """Logits of student and teacher at the words of each row that both cover, by a loop over windows; row lengths."""
    encoded, ours, theirs, counts = distillation.transfer, [], [], []
    sentences = [words for chunk in distillation.store.sentences() for words in chunk]
    logits = [teacher_outputs(teacher, words) for words in sentences]
    for row in rows:
        sentence, first = int(encoded.sentence[row]), int(encoded.first_word[row])
        kept = encoded.kept[encoded.word_offsets[row] : encoded.word_offsets[row + 1]]
        states = student_states(distillation.network, sentences[sentence][first : first + len(kept)])
        before = len(ours)
        for place, (state, keep) in enumerate(zip(states, kept, strict=True)):
            outputs = logits[sentence][first + place]
            if keep and state is not None and outputs is not None:
                ours.append(distillation.network.classify(state))
                theirs.append(outputs[0])
        counts.append(len(ours) - before)
    return torch.stack(ours), torch.stack(theirs), np.array(counts)


def test_the_softened_loss_compares_the_logits_that_a_loop_finds(tmp_path, teacher):
    distillation = open_distillation(tmp_path, teacher, SHORT, logit_loss="soft_cross_entropy", temperature=3.0)
    ours, theirs, _ = taught_words(distillation, teacher, range(4))
    expected = soft_cross_entropy(ours, theirs, temperature=3.0).item()
    assert distillation.source("logits").loss(np.arange(4)).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("with_crf", [True, False])
def test_a_chain_is_a_window_and_only_a_first_window_begins_a_sentence(tmp_path, teacher, with_crf):
    """Windows of long sentences: words without a piece are left out, and a later window may begin inside an entity."""
    crf = Crf(SCHEME) if with_crf else None
    distillation = open_distillation(
        tmp_path, teacher, LONG, max_pieces=WINDOW, crf=crf, logit_loss="posterior", temperature=2.0
    )
    encoded = distillation.transfer
    rows = [row for row in range(encoded.n_rows) if encoded.predicted_words()[row]]
    ours, theirs, counts = taught_words(distillation, teacher, rows)
    opens = np.array([encoded.first_word[row] == 0 for row in rows])
    assert 0 < opens.sum() < len(rows)
    legality = legal_transitions(SCHEME)
    expected = posterior_loss(
        ours,
        theirs,
        WordRows(counts, opens),
        transitions=legality + crf.scores if crf else legality,
        teacher_transitions=legality,
        temperature=2.0,
    )
    source = distillation.source("logits")
    assert source.loss(np.arange(len(rows))).item() == pytest.approx(expected.item(), rel=1e-3)
    parts = sum(source.loss(part).item() for part in np.array_split(np.random.default_rng(0).permutation(len(rows)), 3))
    assert parts == pytest.approx(expected.item(), rel=1e-3)


def test_gold_labels_teach_a_crf_whole_rows(tmp_path):
    """A zero-width space without a piece stands inside an entity: what follows it begins a new one."""
    teacher = load(save_bert(tmp_path / "teacher"))
    tags = [("B-PER", "I-PER", "O"), ("B-LOC", "I-LOC", "I-LOC"), ("B-LOC",), ("O", "O", "B-LOC", "I-LOC")]
    gold = [Sentence(str(i), "xx", tuple(w), t) for i, (w, t) in enumerate(zip(SHORT, tags, strict=True))]
    crf = Crf(SCHEME)
    distillation = open_distillation(tmp_path, teacher, SHORT[:2], gold=gold, crf=crf)
    source = distillation.source("labels")
    assert source.words.tolist() == [3, 2, 1, 4]
    expected = 0.0
    for sentence in gold:
        states = student_states(distillation.network, sentence.words)
        logits = torch.stack([distillation.network.classify(state) for state in states if state is not None])
        pairs = zip(sentence.tags, states, strict=True)
        seen = to_iob2(["O" if state is None else tag for tag, state in pairs], format="IOB2")[0]
        kept = [SCHEME.tag_id(tag) for tag, state in zip(seen, states, strict=True) if state is not None]
        row = WordRows(np.array([len(kept)]), np.array([True]))
        expected += crf.loss(logits, torch.tensor(kept), row).item()
    assert expected < 1e3, "an illegal path"
    assert source.loss(np.array([2, 0, 3, 1])).item() == pytest.approx(expected, rel=1e-4)


def test_entities_across_windows_are_legal_paths_of_a_crf(tmp_path):
    teacher = load(save_bert(tmp_path / "teacher"))
    gold = [
        Sentence(str(i), "xx", tuple(words), ("B-PER", *["I-PER"] * (len(words) - 1))) for i, words in enumerate(LONG)
    ]
    distillation = open_distillation(tmp_path, teacher, SHORT, gold=gold, crf=Crf(SCHEME), max_pieces=WINDOW)
    source = distillation.source("labels")
    assert len(source.words) > len(LONG)
    assert source.loss(np.arange(len(source.words))).item() < 1e3


def test_the_teacher_is_not_trained(tmp_path, teacher):
    distillation = open_distillation(tmp_path, teacher, SHORT)
    for name in ("hard", "logits", "representation"):
        distillation.source(name).loss(np.arange(4)).backward()
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_layers_share_out_all_parameters(tmp_path):
    distillation = open_distillation(tmp_path, load(save_bert(tmp_path / "teacher")), SHORT, crf=Crf(SCHEME))
    parts = [distillation.parameters_of([layer]) for layer in distillation.network.layers()]
    assert all(parts)
    assert sum(map(len, parts)) == len(frozenset().union(*parts))
    assert frozenset().union(*parts) == {name for name, _ in distillation.network.named_parameters()}


def test_nothing_to_learn_from_is_a_corpus_error(tmp_path):
    teacher = load(save_bert(tmp_path / "teacher"))
    distillation = open_distillation(tmp_path, teacher, [["\u200b"], ["\u200b", "\u200b"]])
    with pytest.raises(CorpusError, match="No word to learn from for the loss 'logits'"):
        distillation.source("logits")


def test_teacher_and_student_cut_words_differently(tmp_path, teacher):
    """What the tests above rest on."""
    theirs = teacher.encoder.encode([["abcde"]]).pieces
    ours = PieceEncoder(make_tokenizer(), max_pieces=80, pad_id=0).encode([["abcde"]]).pieces
    assert len(ours) == 5
    assert len(theirs) - 2 == 3
    assert isinstance(teacher.tokenizer, type(AutoTokenizer.from_pretrained(tmp_path / "teacher")))
    assert teacher.layers == LAYERS


@pytest.mark.parametrize("loss", ["labels", "logits", "representation"])
def test_a_high_temperature_gives_languages_equal_shares(tmp_path, loss):
    """Two sentences of one language and six of the other; without a temperature a language gets its own share."""
    words = [("ab", "cd")] * 6 + [("e",)] * 2
    gold = [Sentence(f"{n}", "aa" if n < 6 else "bb", text, ("O",) * len(text)) for n, text in enumerate(words)]
    teacher = load(save_bert(tmp_path / "bert"))
    shares = []
    for temperature in (1.0, 1e9):
        distillation = open_distillation(
            tmp_path / f"{temperature}",
            teacher,
            [words[0], *words[6:]] if loss != "labels" else words,
            languages=("aa", "bb"),
            gold=gold,
            sampling_temperature=temperature,
        )
        plan = distillation.source(loss).plan
        drawn = np.concatenate([plan.rows(update) for update in range(plan.batches_per_epoch)])
        shares.append(np.bincount(drawn, minlength=plan.n_rows))
    small = slice(0, 1) if loss != "labels" else slice(6, 8)
    assert set(shares[0].tolist()) == {1}
    assert shares[1][small].sum() in (shares[1].sum() // 2, -(-shares[1].sum() // 2))
