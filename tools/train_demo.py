"""Train the demo model and write localr1/data/demo.gguf.

    python tools/train_demo.py                 # train (or go on from the checkpoint) and export
    python tools/train_demo.py --export-only   # write the GGUF again from the last checkpoint

Seeded and reproducible: step N draws its batch from a generator seeded with (seed, N), so a run
that was stopped and resumed sees the same data as one that was not. Needs the `train` extra
(torch, numpy, tokenizers, gguf); about 75 minutes on two CPU cores.

The model is a qwen2: RMSNorm, rotary positions (half-rotation), grouped-query attention with
biases on Q, K and V, SwiGLU, tied embeddings; a byte-level BPE vocabulary with one token per
digit (the pre-tokenizer `deepseek-r1-qwen`), and the special tokens of the R1 distills.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import demo_task as task  # noqa: E402 - found through the path above

from localr1.engine.thinking import ANSWER_SEPARATOR, CLOSING_NEWLINE, CLOSING_SENTENCE  # noqa: E402

OUTPUT = ROOT / "localr1" / "data" / "demo.gguf"
CHECKPOINT = ROOT / "tools" / "demo-checkpoints" / "last.pt"

# The pre-tokenizer that llama.cpp applies for `deepseek-r1-qwen`: Qwen2's, one digit a token.
PRETOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL = (EOS, USER, ASSISTANT, BOS, THINK, END_THINK)

# Renders as DeepSeek-R1's template does: thinking stripped from earlier replies, the system
# text right after BOS, and the reply opened with `<think>` and a newline.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for m in messages if m['role'] == 'system' -%}{{ m['content'] }}{%- endfor -%}"
    "{%- for m in messages -%}"
    "{%- if m['role'] == 'user' -%}{{ '<｜User｜>' + m['content'] }}"
    "{%- elif m['role'] == 'assistant' -%}"
    "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<｜Assistant｜><think>\\n' }}{%- endif -%}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network."""

    layers: int = 4
    width: int = 192
    heads: int = 6
    heads_kv: int = 2
    feed_forward: int = 576
    context: int = 2048
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-6


# --- vocabulary -----------------------------------------------------------------------------


def make_tokenizer(seed: int, merges: int = 320) -> Tokenizer:
    """Learn the byte-level BPE merges from a sample of the training text."""
    rng = random.Random(f"{seed} vocabulary")
    corpus = [CLOSING_SENTENCE, task.SELF_DESCRIPTION, task.NOT_A_TASK] * 40
    for _ in range(4000):
        turn = task.draw_turn(rng)
        corpus += [turn.question, "".join(turn.steps), turn.answer, turn.unfinished_answer]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZER), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=256 + merges,
            min_frequency=30,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


class Encoder:
    """Examples to token ids and loss masks."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.id: dict[str, int] = {name: tokenizer.token_to_id(name) or 0 for name in SPECIAL}
        self._cache: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        """Token ids of plain text; special tokens are never parsed in it."""
        if len(self._cache) > 200_000:
            self._cache.clear()
        if text not in self._cache:
            self._cache[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self._cache[text]

    def prompt(self, history: tuple[tuple[str, str], ...], system: str, question: str) -> list[int]:
        """Everything up to and including `<think>` and its newline."""
        ids = [self.id[BOS], *(self.text(system) if system else [])]
        for asked, answered in history:
            ids += [self.id[USER], *self.text(asked), self.id[ASSISTANT]]
            ids += [*self.text(ANSWER_SEPARATOR + answered), self.id[EOS]]
        ids += [self.id[USER], *self.text(question), self.id[ASSISTANT], self.id[THINK]]
        return ids + self.text("\n")

    def example(self, example: task.Example) -> tuple[list[int], int]:
        """Ids of a whole example, and where the model's own writing begins."""
        turn = example.turn
        ids = self.prompt(example.history, example.system, turn.question)
        steps = [self.text(step) for step in turn.steps]
        thinking = [t for step in steps for t in step]
        if example.cut_fraction is None:
            begin = len(ids)
            ids += [*thinking, self.id[END_THINK]]
            answer = turn.answer
        else:
            cut = int(example.cut_fraction * (len(thinking) + 1))
            needed = sum(len(step) for step in steps[: turn.enough_steps])
            ids += thinking[:cut] + self.closing()
            begin = len(ids)
            answer = turn.answer if cut >= needed else turn.unfinished_answer
            ids += [*self.text(ANSWER_SEPARATOR), *self.text(answer), self.id[EOS]]
            return ids, begin + len(self.text(ANSWER_SEPARATOR))
        ids += [*self.text(ANSWER_SEPARATOR), *self.text(answer), self.id[EOS]]
        return ids, begin

    def closing(self) -> list[int]:
        """What the engine feeds to end the thinking, up to `</think>`."""
        return [*self.text(CLOSING_SENTENCE + CLOSING_NEWLINE), self.id[END_THINK]]


# --- network --------------------------------------------------------------------------------


class Layer(nn.Module):
    """One qwen2 layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        head = shape.width // shape.heads
        self.attn_norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.q = nn.Linear(shape.width, shape.width)
        self.k = nn.Linear(shape.width, shape.heads_kv * head)
        self.v = nn.Linear(shape.width, shape.heads_kv * head)
        self.output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Attention and feed-forward, each with its residual."""
        batch, length, width = x.shape
        heads, heads_kv = self.shape.heads, self.shape.heads_kv
        head = width // heads
        y = self.attn_norm(x)
        q = _rotate(self.q(y).view(batch, length, heads, head).transpose(1, 2), rotation)
        k = _rotate(self.k(y).view(batch, length, heads_kv, head).transpose(1, 2), rotation)
        v = self.v(y).view(batch, length, heads_kv, head).transpose(1, 2)
        k, v = (t.repeat_interleave(heads // heads_kv, dim=1) for t in (k, v))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(z.transpose(1, 2).reshape(batch, length, width))
        y = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Network(nn.Module):
    """The whole model; logits share the embedding's weights."""

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.norm_epsilon)
        head = shape.width // shape.heads
        frequency = shape.rope_base ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
        angle = torch.outer(torch.arange(shape.context, dtype=torch.float32), frequency)
        angle = torch.cat([angle, angle], -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Final hidden states, normed; project with `logits`."""
        x = self.embedding(ids)
        length = ids.shape[1]
        rotation = (self.cos[:length].to(x.dtype), self.sin[:length].to(x.dtype))
        for layer in self.layers:
            x = layer(x, rotation)
        return self.norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary."""
        return hidden @ self.embedding.weight.T


def _rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * rotation[0] + torch.cat([-second, first], -1) * rotation[1]


# --- training -------------------------------------------------------------------------------


def make_batch(
    encoder: Encoder, seed: int, step: int, tokens: int, mix: task.Mix
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the batch of a step: ids and loss mask, padded to similar lengths.

    A pool three times the batch is drawn and one run of neighbours by length is taken, so that
    little is spent on padding; which run is random, so lengths keep their shares.
    """
    rng = random.Random(f"{seed} {step}")
    pool: list[tuple[list[int], int]] = []
    while sum(len(ids) for ids, _ in pool) < 3 * tokens:
        pool.append(encoder.example(task.draw_example(rng, mix)))
    pool.sort(key=lambda item: len(item[0]))
    total = sum(len(ids) for ids, _ in pool)
    start_at, seen, first = rng.random() * (total - tokens), 0.0, 0
    while seen + len(pool[first][0]) < start_at:
        seen += len(pool[first][0])
        first += 1
    rows: list[tuple[list[int], int]] = []
    while first < len(pool) and (len(rows) + 1) * len(pool[first][0]) <= tokens * 1.1:
        rows.append(pool[first])
        first += 1
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for row, (tokens_of_row, begin) in enumerate(rows):
        ids[row, : len(tokens_of_row)] = torch.tensor(tokens_of_row)
        mask[row, begin : len(tokens_of_row)] = True
    return ids, mask


def train(arguments: argparse.Namespace, encoder: Encoder, shape: Shape) -> Network:
    """Train from the checkpoint, or from nothing, to the last step."""
    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    model = Network(shape, encoder.tokenizer.get_vocab_size()).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    matrices = [p for n, p in model.named_parameters() if p.dim() > 1 and "embedding" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.dim() > 1 and "embedding" not in n)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=arguments.muon_rate, weight_decay=0.02,
                         momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=arguments.rate, betas=(0.9, 0.98), weight_decay=0.02),
    ]  # fmt: skip
    rates = [group["lr"] for o in optimizers for group in o.param_groups]
    first, started = 0, time.monotonic()
    if arguments.checkpoint.exists() and not arguments.restart:
        saved = torch.load(arguments.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        first = saved["step"]
        print(f"going on from step {first}", flush=True)
    last = arguments.steps + arguments.more_steps
    for step in range(first, last):
        factor, mix = schedule(step, arguments)
        groups = [group for o in optimizers for group in o.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * max(factor, 0.01)
        batch = make_batch(encoder, arguments.seed, step, arguments.tokens, mix)
        ids, mask = (t.to(device) for t in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=not arguments.float32):
            hidden = model(ids[:, :-1])[mask[:, 1:]]
            logits = model.logits(hidden)
        loss = F.cross_entropy(logits.float(), ids[:, 1:][mask[:, 1:]])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == last - 1:
            print(
                f"step {step} loss {loss.item():.4f} {time.monotonic() - started:.0f} s", flush=True
            )
        if (step + 1) % arguments.test_every == 0 or step == last - 1:
            print(f"  exact {test(model, encoder, 48, step)}", flush=True)
        if (step + 1) % 200 == 0 or step == last - 1:
            save(arguments.checkpoint, model, optimizers, step + 1)
    return model


def schedule(step: int, arguments: argparse.Namespace) -> tuple[float, task.Mix]:
    """Share of the full learning rates at a step, and what its examples are drawn from.

    The first stage warms up, stays, and falls to nothing over its second half; the second one
    begins again at a third and falls to nothing.
    """
    if step < arguments.steps:
        warm = min(1.0, (step + 1) / 100)
        left = 1 - step / arguments.steps
        return warm * min(1.0, left / arguments.decay), task.FIRST_STAGE
    done = step - arguments.steps
    warm = min(1.0, (done + 1) / 50)
    return warm * (1 - done / arguments.more_steps) / 3, task.SECOND_STAGE


def save(path: Path, model: Network, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    """Write the checkpoint whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "step": step,
        },
        part,
    )
    part.replace(path)


@torch.no_grad()
def test(model: Network, encoder: Encoder, count: int, seed: int) -> dict[str, float]:
    """Share of unseen questions answered exactly, by kind, decoding greedily."""
    rng = random.Random(f"{seed} test")
    prompts: dict[str, list[tuple[list[int], str]]] = {}
    for kind in ("+", "-", "?", "other", "turns", "cut"):
        rows = prompts.setdefault(kind, [])
        while len(rows) < count:
            history: tuple[tuple[str, str], ...] = ()
            if kind == "turns":
                past = [task.draw_turn(rng) for _ in range(rng.randint(5, 12))]
                history = tuple((t.question, t.answer) for t in past)
            if kind == "other":
                turn = task.other_turn(task.other_question(rng))
            else:
                problem = task.draw_problem(rng, held_out=True)
                if kind in "+-?" and problem.operation != kind:
                    continue
                turn = task.turn_of(problem, task.ask(problem, rng))
            ids = encoder.prompt(history, "", turn.question)
            wanted = turn.answer
            if kind == "cut":
                example = task.Example((), "", turn, rng.random())
                whole, begin = encoder.example(example)
                ids = whole[: begin - len(encoder.text(ANSWER_SEPARATOR))]
                wanted = encoder.tokenizer.decode(whole[begin:-1])
            rows.append((ids, wanted))
    return {kind: _score(model, encoder, rows) for kind, rows in prompts.items()}


def _score(model: Network, encoder: Encoder, rows: list[tuple[list[int], str]]) -> float:
    device = model.embedding.weight.device
    right = 0
    for start in range(0, len(rows), 48):
        part = rows[start : start + 48]
        open_rows = [list(ids) for ids, _ in part]
        done = [False] * len(part)
        for _ in range(260):
            live = [i for i, finished in enumerate(done) if not finished]
            if not live:
                break
            length = max(len(open_rows[i]) for i in live)
            ids = torch.zeros(len(live), length, dtype=torch.long)
            for row, i in enumerate(live):
                ids[row, : len(open_rows[i])] = torch.tensor(open_rows[i])
            last = torch.tensor([len(open_rows[i]) - 1 for i in live], device=device)
            hidden = model(ids.to(device))[torch.arange(len(live), device=device), last]
            for i, token in zip(live, model.logits(hidden).argmax(-1).tolist(), strict=True):
                open_rows[i].append(token)
                done[i] = token == encoder.id[EOS] or len(open_rows[i]) >= model.shape.context
        for ids, (_, wanted) in zip(open_rows, part, strict=True):
            if ids[-1] == encoder.id[EOS] and encoder.id[END_THINK] in ids:
                cut = len(ids) - 1 - ids[::-1].index(encoder.id[END_THINK])
                right += encoder.tokenizer.decode(ids[cut + 1 : -1]).strip() == wanted
    return round(right / len(rows), 3)


# --- export ---------------------------------------------------------------------------------


def export(model: Network, tokenizer: Tokenizer, path: Path) -> None:
    """Write the GGUF: matrices in F16, vectors in F32."""
    shape = model.shape
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_name("localr1 demo")
    writer.add_description(
        "A demonstration: adds, subtracts and compares numbers of up to 4 digits."
    )
    writer.add_license("mit")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads_kv)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _write_vocabulary(writer, tokenizer)
    state = {n: p.detach().float().cpu().numpy() for n, p in model.state_dict().items()}
    names = {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    parts = {
        "attn_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
        "output": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
        "down": "ffn_down",
    }  # fmt: skip
    for layer in range(shape.layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"layers.{layer}.{ours}.{kind}"] = f"blk.{layer}.{theirs}.{kind}"
    for name, array in state.items():
        data = array.astype(np.float16) if array.ndim > 1 else array.astype(np.float32)
        writer.add_tensor(names[name], data)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def _write_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    import json

    size = tokenizer.get_vocab_size()
    tokens = [tokenizer.id_to_token(i) for i in range(size)]
    kinds = [gguf.TokenType.NORMAL] * size
    for name in SPECIAL:
        # As llama.cpp's converter marks them: the think tags are not control tokens.
        user_defined = name in (THINK, END_THINK)
        kinds[tokenizer.token_to_id(name) or 0] = (
            gguf.TokenType.USER_DEFINED if user_defined else gguf.TokenType.CONTROL
        )
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-r1-qwen")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(tokenizer.token_to_id(BOS))
    writer.add_eos_token_id(tokenizer.token_to_id(EOS))
    writer.add_pad_token_id(tokenizer.token_to_id(EOS))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--more-steps", type=int, default=1500, help="of the second stage")
    parser.add_argument("--tokens", type=int, default=8192, help="tokens in a batch")
    parser.add_argument(
        "--rate", type=float, default=3e-3, help="AdamW's, for the embedding and vectors"
    )
    parser.add_argument("--muon-rate", type=float, default=1.5e-3, help="Muon's, for the matrices")
    parser.add_argument(
        "--decay", type=float, default=0.5, help="share of the run over which rates fall"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="0: torch's own choice")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 in matrix products")
    parser.add_argument("--test-every", type=int, default=1500)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--restart", action="store_true", help="ignore the checkpoint")
    parser.add_argument("--export-only", action="store_true")
    arguments = parser.parse_args()
    tokenizer = make_tokenizer(arguments.seed)
    encoder = Encoder(tokenizer)
    if arguments.export_only:
        model = Network(Shape(), tokenizer.get_vocab_size())
        saved = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(saved["model"])
    else:
        model = train(arguments, encoder, Shape())
    export(model, tokenizer, arguments.output)


if __name__ == "__main__":
    main()
