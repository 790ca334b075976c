// Files on their way to the server; when one is there, a message says where.

import type { ImClient } from "im-client";
import { explain } from "./i18n";
import { Listeners } from "./listeners";

export interface Upload {
  id: number;
  file: File;
  startedAt: number;
  /** 0 to 1 */
  part: number;
  problem?: string;
  request?: XMLHttpRequest;
}

interface Stored {
  file_id: string;
  url: string;
  size: number;
  content_type: string;
  width?: number;
  height?: number;
  thumbnail_url?: string;
}

let count = 0;

export class Uploads {
  readonly changed = new Listeners();
  list: Upload[] = [];

  constructor(
    readonly client: ImClient,
    readonly conversation: string,
  ) {}

  add(files: File[]): void {
    for (const file of files) {
      count += 1;
      const upload = { id: count, file, startedAt: Date.now(), part: 0 };
      this.list = [...this.list, upload];
      void this.#run(upload);
    }
    this.changed.tell();
  }

  cancel(upload: Upload): void {
    upload.request?.abort();
    this.#remove(upload);
  }

  retry(upload: Upload): void {
    upload.problem = undefined;
    upload.part = 0;
    this.changed.tell();
    void this.#run(upload);
  }

  async #run(upload: Upload): Promise<void> {
    try {
      const stored = await this.#send(upload);
      const { file_id, url, size, content_type: type, width, height, thumbnail_url } = stored;
      const ext = { file_id, name: upload.file.name, size, content_type: type, width, height, thumbnail_url };
      const kind = type.startsWith("image/") && width && height ? "image" : "file";
      await this.client.send(this.conversation, url, { content_type: kind, ext: withoutEmpty(ext) });
      this.#remove(upload);
    } catch (error) {
      upload.problem = explain(error);
      this.changed.tell();
    }
  }

  /** By XMLHttpRequest: fetch does not tell how far an upload is. */
  async #send(upload: Upload): Promise<Stored> {
    // A request of the client's own first, so that the token is a fresh one.
    const token = await this.client.accessToken();
    const form = new FormData();
    form.append("file", upload.file, upload.file.name);
    const request = new XMLHttpRequest();
    upload.request = request;
    request.open("POST", this.client.http.url("/v1/files"));
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      upload.part = total ? loaded / total : 0;
      this.changed.tell();
    };
    return new Promise((resolve, reject) => {
      request.onload = () => (request.status === 201 ? resolve(request.response as Stored) : reject(refusal(request)));
      request.onerror = () => reject({ code: "UNAVAILABLE" });
      request.onabort = () => reject({ code: "UNAVAILABLE" });
      request.send(form);
    });
  }

  #remove(upload: Upload): void {
    this.list = this.list.filter((one) => one !== upload);
    this.changed.tell();
  }
}

function refusal(request: XMLHttpRequest): Error {
  const said = (request.response ?? {}) as { code?: string; detail?: string };
  return Object.assign(new Error(said.detail ?? ""), { code: said.code ?? "INTERNAL" });
}

function withoutEmpty(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null));
}
