/**
 * Debian's kernels for the lab: fetched with apt, unpacked into a cache, never installed.
 *
 * - A kernel is known by its series (`6.1`); what is in the cache is used as it is, until `refresh`.
 * - An unpacked kernel appears in the cache by one rename: a broken download is never taken for a kernel.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Series that the lab boots; the machine it runs on is the third kernel that the tests cover. */
export const labSeries = ['6.1', '6.12'] as const;
export type Series = (typeof labSeries)[number];

/** Debian's packages that depend on the newest kernel of a series. The cloud flavour is small and has virtio-fs. */
const metaPackages: Readonly<Record<Series, string>> = {
  '6.1': 'linux-image-cloud-amd64',
  '6.12': 'linux-image-6.12-cloud-amd64',
};

export interface Kernel {
  series: Series;
  /** As `uname -r` says it. */
  release: string;
  image: string;
  /** Holds `lib/modules/<release>`. */
  folder: string;
}

const cacheFolder = join(homedir(), '.cache', 'axoneme-lab');

export function kernelOf(series: Series, { refresh = false } = {}): Kernel {
  const folder = join(cacheFolder, series);
  if (refresh || !existsSync(folder)) fetchKernel(series, folder);
  const image = readdirSync(join(folder, 'boot')).find((name) => name.startsWith('vmlinuz-'));
  if (image === undefined) throw new Error(`${folder}/boot has no vmlinuz: remove ${folder} and try again`);
  return { series, release: image.slice('vmlinuz-'.length), image: join(folder, 'boot', image), folder };
}

/** Paths of a module and all it needs, in loading order; what is built in is left out. */
export function modulePaths({ folder, release }: Kernel, names: readonly string[]): string[] {
  const options = ['--dirname', folder, '--set-version', release, '--show-depends'];
  const lines = names.flatMap((name) => run('modprobe', [...options, name]).split('\n'));
  const paths = lines.flatMap((line) => /^insmod (\S+)/.exec(line)?.[1] ?? []);
  return [...new Set(paths)];
}

function fetchKernel(series: Series, folder: string): void {
  mkdirSync(cacheFolder, { recursive: true });
  const work = mkdtempSync(join(cacheFolder, `${series}-`));
  try {
    const name = newestPackage(metaPackages[series]);
    // apt drops root for downloads, and could not write below a home folder.
    run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', name], work);
    const archive = readdirSync(work).find((file) => file.endsWith('.deb'));
    if (archive === undefined) throw new Error(`apt-get download ${name} left no .deb in ${work}`);
    const unpacked = join(work, 'unpacked');
    run('dpkg', ['--extract', join(work, archive), unpacked]);
    const [release] = readdirSync(join(unpacked, 'lib', 'modules'));
    if (release === undefined) throw new Error(`${archive} holds no modules`);
    run('depmod', ['--basedir', unpacked, release]);
    rmSync(folder, { recursive: true, force: true });
    renameSync(unpacked, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function newestPackage(meta: string): string {
  const name = /^\s*Depends: (linux-image-\S+)/m.exec(run('apt-cache', ['depends', meta]))?.[1];
  if (name === undefined) throw new Error(`apt-cache knows no ${meta}: run apt-get update (Debian 12, amd64)`);
  return name;
}

function run(command: string, args: readonly string[], cwd?: string): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...(cwd && { cwd }) });
}
