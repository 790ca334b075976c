import { randomId } from "./parts.js";

/**
 * A name for a page's connection, which no other page of the device has: a connection takes the place of an
 * older one of the same name, which the page has left behind. It is the same again after a reload, so that the
 * server knows since when the device was away.
 */
export class DeviceName {
  #deviceId;
  /** Lets another page have the name. */
  release;

  constructor(deviceId, name, release) {
    this.#deviceId = deviceId;
    this.name = name;
    this.release = release;
  }

  /** The first that is free; without locks (a page that came over plain HTTP) one by chance. */
  static async take(deviceId, locks) {
    if (!locks) return new DeviceName(deviceId, byChance(deviceId), () => {});
    for (let number = 0; ; number += 1) {
      const name = number ? `${deviceId}.${number}` : deviceId;
      const release = await new Promise((resolve) => {
        const hold = (lock) => lock && new Promise((end) => resolve(end));
        locks.request(`im-client-device-${name}`, { ifAvailable: true }, hold).then(() => resolve(null));
      });
      if (release) return new DeviceName(deviceId, name, release);
    }
  }

  /** Somebody else has the name all the same. */
  rename() {
    this.name = byChance(this.#deviceId);
  }
}

function byChance(deviceId) {
  return `${deviceId}.${randomId().slice(0, 8)}`;
}
