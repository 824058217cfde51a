"""What this project trains: `config`, `data`, `model` and `train`, all yours to change."""
