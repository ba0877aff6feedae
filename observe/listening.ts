/** Servers that listen: on a port, or on a unix socket that only root may open. */
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';

export function listening<S extends Server>(
  server: S,
  where: { path: string } | { host: string; port: number },
): Promise<S> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

/** Takes the place of a server that is gone; throws when another process serves on the socket. */
export async function listenOnSocket<S extends Server>(server: S, path: string): Promise<S> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (existsSync(path)) {
    if (await isServed(path)) throw new Error(`socket ${path} is served by another process`);
    rmSync(path);
  }
  // The socket is never there with more rights than it ends up with.
  const before = process.umask(0o177);
  try {
    await listening(server, { path });
    chmodSync(path, 0o600);
    return server;
  } finally {
    process.umask(before);
  }
}

function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
}
