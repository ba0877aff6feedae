/** A generic netlink socket for one family of one namespace: its number is looked up once, which loads the kernel's module. */
import { NetlinkSocket } from '../../native/index.ts';
import { attributeSet, string, u16 } from './attributes.ts';
import { messageType } from './message.ts';

/** GENL_ID_CTRL and CTRL_CMD_GETFAMILY of linux/genetlink.h. */
const CONTROL = 16;
const GET_FAMILY = 3;

/** struct genlmsghdr. */
export const genericHeader = { command: 'u8', version: 'u8', padReserved: 'u16' } as const;
const familyMessage = messageType(genericHeader, attributeSet({ id: [1, u16], name: [2, string] }));

export class GenericSocket {
  readonly #socket: NetlinkSocket;
  readonly family: number;

  /** Throws ENOENT where the kernel lacks the family. Empty or undefined netns: the caller's. */
  constructor(family: string, netns?: string) {
    this.#socket = new NetlinkSocket('generic', netns ? { netns } : {});
    try {
      const request = { command: GET_FAMILY, version: 1, attributes: { name: family } };
      const [answer] = this.#socket.request(familyMessage.encode(CONTROL, 0, request));
      this.family = (answer && familyMessage.decode(answer).attributes.id) ?? 0;
    } catch (error) {
      this.#socket.close();
      throw error;
    }
  }

  dump(message: Buffer): Buffer[] {
    return this.#socket.request(message, { dump: true });
  }

  /** Changes one thing; throws the kernel's refusal. */
  change(message: Buffer): void {
    this.#socket.request(message);
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
