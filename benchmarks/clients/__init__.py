"""How much our clients cost beside a bare HTTP call, and beside their peers.

- `server`: the loopback server that all of them call, in a process of its own.
- `environments`: a virtual environment for each peer.
- `worker`: one client in its own environment and process, which measures what it is told to.
- `tasks`: what is measured, how often, and the bars to meet.
- `report`: the table, the verdicts and the JSON.
"""
