/** One question to another node: an ICMP echo, or `GET /hello` over TCP, with how long the answer took. */
import { randomInt } from 'node:crypto';
import { dialTcp, EchoSocket, isErrno } from '../native/index.ts';

export interface Asked {
  /** Why there was no good answer; '': there was one. */
  error: string;
  latencyMs: number;
}

/** Neither rejects. */
export interface Ask {
  echo(address: string, timeoutMs: number): Promise<Asked>;
  hello(address: string, port: number, timeoutMs: number): Promise<Asked>;
}

/** One lost packet is no silence: TCP repeats its own. */
const ECHOES = 3;
const ANSWER_BYTES_MAX = 4_096;

interface Waiting {
  startedAt: number;
  done(asked: Asked): void;
}

/** `netns` is a path; default: the caller's. */
export function asker(netns?: string): Ask & { close(): void } {
  const where = netns === undefined ? {} : { netns };
  // Replies to other programs' pings reach the socket too: ours carry this.
  const identifier = randomInt(1, 0x10000);
  const waiting = new Map<number, Waiting>();
  const sockets = new Map<4 | 6, EchoSocket>();
  let sequence = 0;

  function socketOf(family: 4 | 6): EchoSocket {
    const socket =
      sockets.get(family) ??
      new EchoSocket({ family, ...where }, (reply) => {
        if (reply.identifier === identifier) waiting.get(reply.sequence)?.done(answered(waiting.get(reply.sequence)));
      });
    sockets.set(family, socket);
    return socket;
  }
  const answered = (one: Waiting | undefined): Asked => ({ error: '', latencyMs: since(one?.startedAt ?? 0) });

  return {
    echo(address, timeoutMs) {
      return new Promise((resolve) => {
        const mine: number[] = [];
        let timer: NodeJS.Timeout | undefined;
        let lastError = '';
        const done = (asked: Asked): void => {
          clearTimeout(timer);
          for (const one of mine) waiting.delete(one);
          resolve(asked);
        };
        const send = (): void => {
          if (mine.length === ECHOES) {
            done({ error: lastError || `no reply in ${timeoutMs} ms`, latencyMs: 0 });
            return;
          }
          sequence = (sequence + 1) & 0xffff;
          mine.push(sequence);
          waiting.set(sequence, { startedAt: performance.now(), done });
          timer = setTimeout(send, timeoutMs / ECHOES);
          try {
            socketOf(address.includes(':') ? 6 : 4).send(address, identifier, sequence, Buffer.from('axoneme'));
            lastError = '';
          } catch (error) {
            lastError = textOf(error);
          }
        };
        send();
      });
    },

    async hello(address, port, timeoutMs) {
      const startedAt = performance.now();
      try {
        const socket = await dialTcp({ ...where, address, port, timeoutMs });
        const rest = Math.max(1, timeoutMs - since(startedAt));
        const error = await new Promise<string>((resolve) => {
          let text = '';
          socket.setTimeout(rest, () => resolve(`no answer to GET /hello in ${timeoutMs} ms`));
          socket.on('error', (failure) => resolve(textOf(failure)));
          socket.on('data', (chunk: Buffer) => {
            text += chunk.toString('latin1');
            const [, status] = /^HTTP\/1\.[01] (\d{3})/.exec(text) ?? [];
            if (status !== undefined) resolve(status === '200' ? '' : `GET /hello was answered with ${status}`);
            else if (text.length > ANSWER_BYTES_MAX) resolve('GET /hello was answered with what is no HTTP');
          });
          socket.on('close', () => resolve('the connection was closed before an answer'));
          const host = address.includes(':') ? `[${address}]` : address;
          socket.write(`GET /hello HTTP/1.1\r\nhost: ${host}:${port}\r\nconnection: close\r\n\r\n`);
        });
        socket.destroy();
        return { error, latencyMs: error === '' ? since(startedAt) : 0 };
      } catch (error) {
        return {
          error: isErrno(error, 'ETIMEDOUT') ? `no connection in ${timeoutMs} ms` : textOf(error),
          latencyMs: 0,
        };
      }
    },

    close() {
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    },
  };
}

const since = (startedAt: number): number => performance.now() - startedAt;

/** Stays the same as long as the cause does, so that it is no news. */
const textOf = (error: unknown): string => {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return typeof code === 'string' && !String(message).includes(code) ? `${code}: ${message}` : String(message ?? error);
};
