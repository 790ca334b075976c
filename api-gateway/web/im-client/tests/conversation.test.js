import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation } from "../index.js";

const ME = 1001;

function message(seq, from = 1002) {
  return { seq, from, message_id: `m${seq}`, conversation_id: "s:1001:1002", content_type: "text", content: "" };
}

test("what came after the server had counted is counted here", () => {
  const conversation = new Conversation("s:1001:1002");
  for (const seq of [1, 2, 3]) conversation.append(message(seq), ME);
  // Its answer is older than the third.
  conversation.counted({ last_seq: 2, read_seq: 0, unread: 2 }, ME);
  assert.equal(conversation.unread, 3);
  conversation.counted({ last_seq: 3, read_seq: 2, unread: 1 }, ME);
  assert.equal(conversation.unread, 1);
});

test("a count that knows less of what was read than this device changes nothing", () => {
  const conversation = new Conversation("s:1001:1002");
  for (const seq of [1, 2]) conversation.append(message(seq), ME);
  conversation.readUpTo(2, ME);
  conversation.counted({ last_seq: 2, read_seq: 0, unread: 2 }, ME);
  assert.equal(conversation.unread, 0);
});

test("who writes has read what came before", () => {
  const conversation = new Conversation("s:1001:1002");
  conversation.append(message(1, ME), ME);
  assert.equal(conversation.stateOf(conversation.messages[0]), "sent");
  conversation.append(message(2), ME);
  assert.equal(conversation.stateOf(conversation.messages[0]), "read");
});
