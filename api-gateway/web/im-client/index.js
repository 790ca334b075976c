export { ImClient, createClient } from "./client.js";
export { Conversation } from "./conversation.js";
export { ApiError } from "./http.js";
export { afterClose, backoff } from "./close_codes.js";
export { IndexedDbStorage, MemoryStorage, openStorage } from "./storage.js";
export { groupConversation, targetOf, userConversation } from "./parts.js";
