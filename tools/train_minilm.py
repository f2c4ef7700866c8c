"""Train the bundled inverter of all-MiniLM-L6-v2: texts -> embeddings -> tokenizer -> probe -> hypothesizer -> hypotheses -> corrector.

    python tools/train_minilm.py runs/minilm

Needs WordNet (Debian's wordnet-base or NLTK's corpus). Every stage writes its result into the folder and is skipped when that is there,
so the script can be stopped and started again at any time. The models end up in the folder `all-MiniLM-L6-v2` there, in half precision,
ready to be copied into the package; `tools/evaluate_minilm.py` scores them there and writes their card.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.data import split_texts, wordnet_texts
from vec2text_nb.decoding import greedy
from vec2text_nb.embedders import digest_of, load_embedder
from vec2text_nb.hypothesizer import InversionConfig, InversionModel
from vec2text_nb.inversion import Corrector, pad_ids
from vec2text_nb.pretrained import save_corrector
from vec2text_nb.training import save_atomically, start_from_probe, train, train_probe

SEED, VOCAB, MAX_LENGTH, TOKENS = 0, 8192, 32, 8
T5 = dict(vocab_size=VOCAB, d_model=384, d_kv=64, d_ff=768, num_layers=1, num_decoder_layers=2, num_heads=6, dropout_rate=0.,
          feed_forward_proj='gated-gelu', tie_word_embeddings=True, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)


def log(text):
    print(text, flush=True)


def train_tokenizer(texts, folder):
    "A Unigram tokenizer of lower-cased text, ending every text with </s>, as T5's do"
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast
    tok = Tokenizer(models.Unigram())
    tok.normalizer, tok.pre_tokenizer, tok.decoder = normalizers.Lowercase(), pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=VOCAB, special_tokens=['<pad>', '</s>', '<unk>'], unk_token='<unk>', show_progress=False)
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = processors.TemplateProcessing(single='$A </s>', special_tokens=[('</s>', 1)])
    PreTrainedTokenizerFast(tokenizer_object=tok, pad_token='<pad>', eos_token='</s>', unk_token='<unk>',
                            model_input_names=['input_ids', 'attention_mask']).save_pretrained(folder)


def embed_split(name, texts, folder):
    "The embeddings of one split, kept as fp32 in the folder"
    path = folder/f'{name}.npy'
    if not path.exists():
        log(f'embedding {len(texts)} texts of {name}')
        vectors = load_embedder('all-MiniLM-L6-v2').encode(texts, batch_size=128).numpy()
        with open(path.with_suffix('.tmp'), 'wb') as f:
            np.save(f, vectors)
        path.with_suffix('.tmp').rename(path)
    vectors = torch.from_numpy(np.load(path))
    assert len(vectors) == len(texts), f'{path} holds {len(vectors)} vectors for {len(texts)} texts: delete it'
    return vectors


@torch.no_grad()
def hypothesize(model, tokenizer, vectors, rows, folder, size=2048):
    "Greedy hypotheses of the train texts `rows` and their embeddings, in files of `size` texts"
    folder.mkdir(exist_ok=True)
    embedder, shards = load_embedder('all-MiniLM-L6-v2'), []
    for k in range(0, len(rows), size):
        path = folder/f'{k//size:03d}.pt'
        if not path.exists():
            e = vectors[rows[k:k+size]]
            ids = [i for j in range(0, len(e), 256) for i in greedy(model.encoder_decoder, *model.encode(e[j:j+256]), MAX_LENGTH)]
            texts = tokenizer.batch_decode([list(i) for i in ids], skip_special_tokens=True)
            save_atomically(dict(ids=ids, embeddings=embedder.encode(texts, max_tokens=MAX_LENGTH)), path)
            log(f'hypotheses: {k+len(e)} of {len(rows)}')
        shards.append(torch.load(path, weights_only=True))
    return [i for s in shards for i in s['ids']], torch.cat([s['embeddings'] for s in shards])


def start_from_hypothesizer(corrector, hypothesizer):
    "The same T5, and the hypothesizer's projection for each of the three vectors"
    corrector.encoder_decoder.load_state_dict(hypothesizer.encoder_decoder.state_dict())
    for transform in (corrector.embedding_transform_1, corrector.embedding_transform_2, corrector.embedding_transform_3):
        transform.load_state_dict(hypothesizer.embedding_transform.state_dict())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--epochs', type=float, default=.5, help='passes of the hypothesizer over the train texts')
    p.add_argument('--corrector_texts', type=int, default=24_576, help='train texts whose hypotheses the corrector learns to correct')
    p.add_argument('--corrector_epochs', type=float, default=1., help='passes over them')
    p.add_argument('--corrector_lr', type=float, default=3e-4, help='lower than --lr: it starts from the trained hypothesizer')
    p.add_argument('--batch_size', type=int, default=64)
    p.add_argument('--lr', type=float, default=1e-3)
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    from transformers import AutoTokenizer
    texts = split_texts(wordnet_texts())
    vectors = {name: embed_split(name, texts[name], a.folder) for name in ('validation', 'test', 'train')}
    if not (a.folder/'tokenizer.json').exists():
        train_tokenizer(texts['train'], a.folder)
    tokenizer = AutoTokenizer.from_pretrained(a.folder)
    ids = [i if len(i) < MAX_LENGTH else [*i[:MAX_LENGTH-2], 1] for i in tokenizer(texts['train'])['input_ids']]
    lengths = np.array([len(i) for i in ids])
    log(f"texts {({k: len(v) for k, v in texts.items()})}, mean length {lengths.mean():.1f} tokens")
    options = dict(batch_size=a.batch_size, seed=SEED, log=log)

    probe = torch.nn.Linear(384, VOCAB)
    if not (a.folder/'probe.pt').exists():
        log('training the probe')
        save_atomically(train_probe(vectors['train'], [i[:-1] for i in ids], VOCAB, seed=SEED).state_dict(), a.folder/'probe.pt')
    probe.load_state_dict(torch.load(a.folder/'probe.pt', weights_only=True))

    config = InversionConfig(model_name_or_path='vec2text_nb/minilm-t5', backbone=T5, embedder_model_name='all-MiniLM-L6-v2',
                             embedder_dim=384, num_repeat_tokens=TOKENS, max_seq_length=MAX_LENGTH)
    model = InversionModel(config)
    start_from_probe(model, probe)
    log(f'hypothesizer: {sum(p.numel() for p in model.parameters())/1e6:.1f} M parameters')
    losses = train(model, lambda rows: model(vectors['train'][rows], labels=pad_ids([ids[r] for r in rows], -100)).loss, lengths,
                   epochs=a.epochs, peak_lr=a.lr, checkpoint=a.folder/'hypothesizer.pt', **options)

    seen = np.random.default_rng(SEED).permutation(len(ids))[:a.corrector_texts]
    digest = digest_of({'seed': SEED}, model.state_dict())[:8]
    hyp_ids, hyp_vectors = hypothesize(model, tokenizer, vectors['train'], seen, a.folder/f'hypotheses-{digest}')
    corrector = CorrectorEncoderModel(config)
    start_from_hypothesizer(corrector, model)
    log(f'corrector: {sum(p.numel() for p in corrector.parameters())/1e6:.1f} M parameters')
    targets, labels = vectors['train'][seen], [ids[r] for r in seen]

    def loss_of(rows):
        hypotheses = pad_ids([tuple(hyp_ids[r]) for r in rows])
        return corrector(targets[rows], hypotheses, hyp_vectors[rows], labels=pad_ids([labels[r] for r in rows], -100)).loss
    corrector_losses = train(corrector, loss_of, lengths[seen], epochs=a.corrector_epochs, peak_lr=a.corrector_lr,
                             checkpoint=a.folder/'corrector.pt', **options)
    out = a.folder/'all-MiniLM-L6-v2'
    save_corrector(Corrector(model.eval(), corrector.eval(), None, tokenizer), out, dtype=torch.float16)
    facts = dict(texts=', '.join(f'{len(t):,} {name}' for name, t in texts.items()), corr_texts=f'{len(seen):,}', seed=SEED,
                 hyp_steps=len(losses), hyp_loss=round(np.mean(losses[-100:]), 3), corr_steps=len(corrector_losses),
                 corr_loss=round(np.mean(corrector_losses[-100:]), 3), batch_size=a.batch_size, lr=a.lr, corr_lr=a.corrector_lr)
    (out/'training.json').write_text(json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    sys.exit(main())
