/** A message as the server has it. Times are Unix milliseconds. */
export interface Message {
  message_id: string;
  conversation_id: string;
  /** Its place in the conversation: 1, 2, 3, … */
  seq: number;
  from: number;
  to?: number;
  group_id?: number;
  content_type: string;
  content: string;
  timestamp: number;
  client_msg_id?: string;
  reply_to?: string;
  mentions?: (number | "all")[];
  ext?: Record<string, unknown>;
  recalled?: boolean;
}

/** What was sent and has no definite answer yet, or was refused. */
export interface Pending {
  client_msg_id: string;
  conversation_id: string;
  frame: { to?: number; group_id?: number; content: string } & More;
  created_at: number;
  state: "sending" | "failed";
  error?: { code: string; message: string };
}

/** What a message may have besides its content. */
export interface More {
  content_type?: "text" | "image" | "file" | "audio" | "video" | "location" | "custom";
  reply_to?: string;
  mentions?: (number | "all")[];
  ext?: Record<string, unknown>;
}

export interface Cursors {
  delivered_seq: number;
  read_seq: number;
}

/** A conversation as this device knows it. Read it; to change it, use the client. */
export declare class Conversation {
  readonly id: string;
  readonly isGroup: boolean;
  /** Without a hole, in the order of `seq`. */
  readonly messages: readonly Message[];
  /** Nothing is on the server below the first of `messages`. */
  readonly isComplete: boolean;
  readonly lastSeq: number;
  readonly readSeq: number;
  readonly unread: number;
  readonly lastMessage: Message | null;
  /** The oldest unread message that mentions the user. */
  readonly mentionedSeq: number | null;
  readonly pinned: boolean;
  readonly muted: boolean;
  readonly draft: string;
  /** How far the other members are. */
  readonly cursors: ReadonlyMap<number, Cursors>;
  /** Of an own message; in a group, of whoever is furthest. */
  stateOf(message: Message): "sent" | "delivered" | "read";
}

/** Where a client keeps what must outlive it. Keys are in the order of their text; `write` is all or nothing. */
export interface Storage {
  get(key: string): Promise<any>;
  list(prefix: string): Promise<[string, any][]>;
  /** `undefined` deletes. */
  write(changes: [string, unknown][]): Promise<void>;
}

export declare class MemoryStorage implements Storage {
  get(key: string): Promise<any>;
  list(prefix: string): Promise<[string, any][]>;
  write(changes: [string, unknown][]): Promise<void>;
}

export declare class IndexedDbStorage implements Storage {
  static open(name: string): Promise<IndexedDbStorage>;
  get(key: string): Promise<any>;
  list(prefix: string): Promise<[string, any][]>;
  write(changes: [string, unknown][]): Promise<void>;
}

/** IndexedDB, or memory where there is none. */
export declare function openStorage(name?: string): Promise<Storage>;

/** An answer that is no success: `code` as in the API, `status` 0 when there was none. */
export declare class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly field?: string;
  readonly retryAfterMs?: number;
  readonly retryable: boolean;
}

/** Requests to the API for the user who is logged in. All raise ApiError. */
export interface Http {
  get<T = any>(path: string, query?: Record<string, unknown>): Promise<T>;
  post<T = any>(path: string, body?: unknown): Promise<T>;
  patch<T = any>(path: string, body?: unknown): Promise<T>;
  put<T = any>(path: string, body?: unknown): Promise<T>;
  delete<T = any>(path: string): Promise<T>;
  /** All items of a list, at most `most`. */
  all<T = any>(path: string, query?: Record<string, unknown>, most?: number): Promise<T[]>;
  request<T = any>(
    method: string,
    path: string,
    more?: { query?: Record<string, unknown>; body?: unknown; headers?: Record<string, string>; signal?: AbortSignal },
  ): Promise<T>;
  blob(path: string, more?: { signal?: AbortSignal }): Promise<Blob>;
  /** The address of a path; raises for one that leads elsewhere. */
  url(path: string, query?: Record<string, unknown>): string;
}

export interface Options {
  /** The API's address; the page's own when missing. */
  api?: string;
  /** WebSocket addresses of the gateways; asked of `/config.json` when missing. */
  ws?: string | string[];
  storage?: Storage;
  platform?: "ios" | "android" | "web" | "desktop" | "other";
  fetch?: typeof fetch;
  /** The platform's own when missing. */
  WebSocket?: typeof WebSocket;
  locks?: LockManager;
}

export type State = "off" | "connecting" | "online" | "waiting";

export interface Events {
  /** Logged in, or no longer (`reason`: logout, revoked, elsewhere, or what the server said). */
  session: { userId: number | null; reason?: string };
  state: State;
  /** A new message of anybody, the user's own included: each once, in the order of its conversation. */
  message: Message;
  /** Something of this conversation has changed: messages, what is pending, unread, how far others are. */
  conversation: string;
  /** The list of conversations was read from the server. */
  conversations: void;
  /** Nothing that the server had when asked is missing here. */
  synced: void;
  /** Changes of friends, groups and sessions; each once. */
  event: { event_id: string; event: string; data: any; timestamp: number };
  typing: { conversation_id: string; user_id: number };
  presence: { user_id: number; online: boolean; last_seen: number };
  hello: { user_id: number; session_id: string; device_id: string; server_time: number };
  /** An error frame that is about no message of the outbox. */
  error: { code: string; message: string };
}

export declare class ImClient {
  readonly userId: number | null;
  readonly sessionId: string | null;
  readonly state: State;
  readonly http: Http;
  readonly conversations: ReadonlyMap<string, Conversation>;
  /** How many messages have no answer yet, or were refused. */
  readonly waiting: number;

  /** Gives a function that ends the listening. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void;

  register(account: { username: string; password: string; nickname?: string; email?: string }): Promise<number>;
  login(credentials: { username: string; password: string }): Promise<number>;
  resume(): Promise<number | null>;
  logout(): Promise<void>;
  /** For a request that `http` cannot make, as an upload that tells how far it is. */
  accessToken(): Promise<string>;
  /** Ends connection and timers; what is stored goes on with the next client on the same storage. */
  close(): void;
  /** Do not wait for the next attempt to connect. */
  nudge(): void;

  conversationWith(userId: number): string;
  conversationOf(groupId: number): string;
  conversation(conversationId: string): Conversation;

  /** Kept when the promise is; sent as soon as can be, once, after what was sent to there before. */
  send(conversationId: string, content: string, more?: More): Promise<Pending>;
  pending(conversationId: string): Pending[];
  /** Sends what was refused as a new message. */
  retry(clientMsgId: string): Promise<void>;
  discard(clientMsgId: string): Promise<void>;
  recall(messageId: string): Promise<void>;
  typing(conversationId: string): void;
  /** Brings back what this device has kept of the conversation. */
  open(conversationId: string): Promise<void>;
  /** Asks for older messages; gives how many came. */
  older(conversationId: string, limit?: number): Promise<number>;
  markRead(conversationId: string, seq: number): Promise<void>;
  setDraft(conversationId: string, text: string): Promise<void>;
  /** Reads the list of conversations again. */
  refresh(): Promise<void>;
}

/** A client on what is stored: logged in already when a session is there. */
export declare function createClient(options?: Options): Promise<ImClient>;

export declare function userConversation(a: number, b: number): string;
export declare function groupConversation(groupId: number): string;
export declare function targetOf(conversationId: string, me: number): { to?: number; group_id?: number };

/** How long to wait before an attempt, in milliseconds; half of it is chance. */
export declare function backoff(attempt: number, random?: () => number): number;
export declare function afterClose(
  code: number,
  attempt: number,
  random?: () => number,
  reason?: string,
): { action: "refresh" | "ended" | "back"; waitMs: number; elsewhere: boolean };
