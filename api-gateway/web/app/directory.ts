// Who is who: users, friends, requests, groups and their members, as far as the page has asked.

import type { ImClient } from "im-client";
import { t } from "./i18n";
import { Listeners } from "./listeners";

export interface Person {
  user_id: number;
  username: string;
  nickname: string;
  avatar: string;
  signature?: string;
}

/** Of an event: what is missing is as it was. */
export type ProfileNews = Pick<Person, "user_id"> & Partial<Pick<Person, "nickname" | "avatar" | "signature">>;

export interface Friend extends Person {
  remark: string;
}

export interface FriendRequest extends Person {
  request_id: number;
  from_user_id: number;
  to_user_id: number;
  message: string;
}

export interface Group {
  group_id: number;
  name: string;
  avatar: string;
  description: string;
  announcement: string;
  owner_id: number;
  join_policy: "open" | "approval" | "invite_only";
  muted: boolean;
  member_count: number;
}

export interface Member extends Person {
  group_nickname: string;
  role: "member" | "admin" | "owner";
  muted_until: number;
}

export interface Presence {
  online: boolean;
  last_seen: number;
}

// At once, of people whose names are not known.
const PARALLEL = 4;
const MOST_PRESENCES = 500;

export class Directory {
  readonly changed = new Listeners();
  readonly people = new Map<number, Person>();
  readonly friends = new Map<number, Friend>();
  readonly groups = new Map<number, Group>();
  readonly members = new Map<number, Map<number, Member>>();
  readonly presences = new Map<number, Presence>();
  readonly blocked = new Map<number, Person>();
  incoming: FriendRequest[] = [];
  outgoing: FriendRequest[] = [];
  #wanted = new Set<number>();
  // Once: who is not there now will not be later.
  #asked = new Set<number>();
  #asking = 0;
  #groupsAsked = new Set<number>();
  /** The groups that the user is in; not known before the first list of them. */
  #mine: Set<number> | undefined;

  #ends: (() => void)[];

  constructor(readonly client: ImClient) {
    this.#ends = [
      client.on("hello", () => void this.refresh()),
      client.on("presence", ({ user_id: who, online, last_seen }) => {
        this.presences.set(who, { online, last_seen });
        this.changed.tell();
      }),
      client.on("event", ({ event, data }) => void this.#happened(event, data)),
      client.on("message", (message) => {
        if (message.group_id && message.content_type === "system") void this.#groupChanged(message.group_id);
      }),
    ];
  }

  close(): void {
    this.#ends.forEach((end) => end());
  }

  /** Everything that others change while nobody looks; asked for at each connection. */
  async refresh(): Promise<void> {
    await Promise.all([this.loadFriends(), this.loadRequests(), this.loadGroups()]).catch(() => {});
    await this.askPresence();
  }

  async loadFriends(): Promise<void> {
    const items = await this.client.http.all<Friend & Presence>("/v1/friends");
    this.friends.clear();
    for (const friend of items) {
      this.friends.set(friend.user_id, friend);
      this.#know(friend);
      this.presences.set(friend.user_id, { online: friend.online, last_seen: friend.last_seen });
    }
    this.changed.tell();
  }

  async loadRequests(): Promise<void> {
    const { http } = this.client;
    const list = (direction: string) => http.all<FriendRequest>("/v1/friends/requests", { direction }, 300);
    [this.incoming, this.outgoing] = await Promise.all([list("in"), list("out")]);
    this.changed.tell();
  }

  async loadBlocked(): Promise<void> {
    const items = await this.client.http.all<Person>("/v1/blocks");
    this.blocked.clear();
    for (const person of items) this.blocked.set(person.user_id, person);
    this.changed.tell();
  }

  async loadGroups(): Promise<void> {
    const groups = await this.client.http.all<Group>("/v1/groups");
    this.#mine = new Set(groups.map((group) => group.group_id));
    for (const group of groups) this.groups.set(group.group_id, group);
    for (const id of [...this.groups.keys()]) {
      if (!groups.some((group) => group.group_id === id)) this.groups.delete(id);
    }
    this.changed.tell();
  }

  isOutOf(groupId: number): boolean {
    return this.#mine !== undefined && !this.#mine.has(groupId);
  }

  async loadGroup(groupId: number): Promise<Group> {
    const group = await this.client.http.get<Group>(`/v1/groups/${groupId}`);
    this.groups.set(groupId, group);
    this.changed.tell();
    return group;
  }

  async loadMembers(groupId: number): Promise<void> {
    const members = await this.client.http.all<Member>(`/v1/groups/${groupId}/members`, {}, 1_000);
    this.members.set(groupId, new Map(members.map((member) => [member.user_id, member])));
    for (const member of members) this.#know(member);
    this.changed.tell();
  }

  /** Who is online: of some people, or of those in the list of conversations. */
  async askPresence(people?: number[]): Promise<void> {
    const ids = new Set(people ?? [...this.client.conversations.keys()].map((id) => this.otherOf(id) ?? 0));
    ids.delete(0);
    if (!ids.size) return;
    const list = [...ids].slice(0, MOST_PRESENCES).join(",");
    const { items } = await this.client.http.get("/v1/users/online", { ids: list }).catch(() => ({ items: [] }));
    for (const { user_id: who, online, last_seen } of items) this.presences.set(who, { online, last_seen });
    this.changed.tell();
  }

  /** The other one of a conversation of two; of a group none. */
  otherOf(conversationId: string): number | null {
    if (!conversationId.startsWith("s:")) return null;
    const [, low, high] = conversationId.split(":").map(Number);
    return low === this.client.userId ? high : low;
  }

  name(userId: number, groupId?: number): string {
    const remark = this.friends.get(userId)?.remark;
    if (remark) return remark;
    const inGroup = groupId ? this.members.get(groupId)?.get(userId)?.group_nickname : "";
    if (inGroup) return inGroup;
    const person = this.person(userId);
    return person ? person.nickname || person.username : t("user_number", { id: userId });
  }

  /** What is known of somebody; asks when it is nothing. */
  person(userId: number): Person | undefined {
    const known = this.people.get(userId);
    if (!known && !this.#asked.has(userId)) {
      this.#asked.add(userId);
      this.#wanted.add(userId);
      void this.#askNext();
    }
    return known;
  }

  /** Asks anew, for a profile that is looked at. */
  async loadPerson(userId: number): Promise<void> {
    this.#know(await this.client.http.get<Person>(`/v1/users/${userId}`));
    this.changed.tell();
  }

  learn(people: Person[]): void {
    people.forEach((person) => this.#know(person));
    this.changed.tell();
  }

  group(groupId: number): Group | undefined {
    if (!this.groups.has(groupId) && !this.#groupsAsked.has(groupId)) {
      this.#groupsAsked.add(groupId);
      this.loadGroup(groupId).catch(() => {});
    }
    return this.groups.get(groupId);
  }

  title(conversationId: string): string {
    const other = this.otherOf(conversationId);
    if (other) return this.name(other);
    const groupId = Number(conversationId.slice(2));
    return this.group(groupId)?.name ?? t("group_number_of", { id: groupId });
  }

  #know(person: Person): void {
    const { user_id, username, nickname, avatar, signature } = person;
    const known = this.people.get(user_id);
    this.people.set(user_id, { user_id, username, nickname, avatar, signature: signature ?? known?.signature });
  }

  #profileChanged(news: ProfileNews): void {
    const { user_id: who } = news;
    const places = [this.people, this.friends, ...this.members.values()] as Map<number, Person>[];
    for (const place of places) {
      const known = place.get(who);
      if (known) place.set(who, { ...known, ...news });
    }
    this.changed.tell();
  }

  async #askNext(): Promise<void> {
    if (this.#asking >= PARALLEL) return;
    this.#asking += 1;
    for (const userId of this.#wanted) {
      this.#wanted.delete(userId);
      if (this.people.has(userId)) continue;
      await this.loadPerson(userId).catch(() => {});
    }
    this.#asking -= 1;
  }

  async #happened(event: string, data: { group_id?: number }): Promise<void> {
    if (event === "ProfileUpdated") this.#profileChanged(data as ProfileNews);
    const tasks: Promise<unknown>[] = [];
    if (event.startsWith("Friend") || event === "NewFriendRequest") tasks.push(this.loadFriends(), this.loadRequests());
    if (event === "BlockListChanged") tasks.push(this.loadBlocked(), this.loadFriends(), this.loadRequests());
    if (event.startsWith("Group")) tasks.push(this.loadGroups());
    if (event === "GroupJoinRequested" && data.group_id) this.changed.tell();
    await Promise.all(tasks).catch(() => {});
  }

  async #groupChanged(groupId: number): Promise<void> {
    const tasks: Promise<unknown>[] = [this.loadGroup(groupId)];
    if (this.members.has(groupId)) tasks.push(this.loadMembers(groupId));
    if (this.isOutOf(groupId)) tasks.push(this.loadGroups());
    await Promise.all(tasks).catch(() => {});
  }
}
