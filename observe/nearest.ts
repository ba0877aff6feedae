/** What was probably meant: names near to one that is not there. */

/** At most `count` candidates, nearest first; those that begin with the word, or hold it, come before those that look like it. */
export function nearest(word: string, candidates: Iterable<string>, count = 3): string[] {
  const scored = [...candidates].map((candidate) => ({ candidate, score: scoreOf(word, candidate) }));
  return scored
    .filter(({ score, candidate }) => score <= Math.max(3, Math.ceil(Math.max(word.length, candidate.length) / 2)))
    .sort((a, b) => a.score - b.score || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

/** Levenshtein's distance, below 1 when one holds the other. */
function scoreOf(word: string, candidate: string): number {
  if (word.length >= 3 && candidate.startsWith(word)) return 0.25;
  if (word.length >= 3 && candidate.includes(word)) return 0.5;
  let row = Array.from({ length: candidate.length + 1 }, (_, i) => i);
  for (let i = 1; i <= word.length; i++) {
    const next = [i];
    for (let j = 1; j <= candidate.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (word[i - 1] === candidate[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row[candidate.length] ?? 0;
}
