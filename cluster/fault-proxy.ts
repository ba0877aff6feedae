/** A TCP proxy whose connections can be cut, stalled and refused: faults of a network for tests of watches. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface FaultProxy {
  port: number;
  /** Ends all connections, in the middle of whatever they say. */
  cut(): void;
  /** Lets this many more bytes of answers through on each open connection, then cuts it. */
  cutAfter(bytes: number): void;
  /** Connections stay open but nothing passes any more; new ones pass. */
  stall(): void;
  /** New connections are refused until it is called with false. */
  refuse(refuse: boolean): void;
  close(): Promise<void>;
}

interface Pair {
  client: Socket;
  server: Socket;
  stalled: boolean;
  /** Bytes of the answer that may still pass. */
  left: number;
}

export async function faultProxy(targetPort: number): Promise<FaultProxy> {
  const pairs = new Set<Pair>();
  let refusing = false;
  const end = (pair: Pair): void => {
    pairs.delete(pair);
    pair.client.destroy();
    pair.server.destroy();
  };
  const listener = createServer((client) => {
    if (refusing) {
      client.destroy();
      return;
    }
    const server = connect(targetPort, '127.0.0.1');
    const pair: Pair = { client, server, stalled: false, left: Number.POSITIVE_INFINITY };
    pairs.add(pair);
    client.on('data', (bytes) => {
      if (!pair.stalled) server.write(bytes);
    });
    server.on('data', (bytes) => {
      if (pair.stalled) return;
      const passing = bytes.subarray(0, pair.left);
      pair.left -= passing.length;
      client.write(passing, () => {
        if (pair.left === 0) end(pair);
      });
    });
    for (const socket of [client, server]) {
      socket.on('error', () => end(pair));
      socket.on('close', () => end(pair));
    }
  });
  await new Promise<void>((resolve) => {
    listener.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (listener.address() as AddressInfo).port,
    cut: () => pairs.forEach(end),
    cutAfter: (bytes) => {
      for (const pair of pairs) pair.left = bytes;
    },
    stall: () => {
      for (const pair of pairs) pair.stalled = true;
    },
    refuse: (refuse) => {
      refusing = refuse;
    },
    close: () =>
      new Promise((resolve) => {
        pairs.forEach(end);
        listener.close(() => resolve());
      }),
  };
}
