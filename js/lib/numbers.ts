/** Numbers of units as a person types them. */

/**
 * Channels that a search text names: "244", "12, 40-48", empty for all. Null where the text says nothing sensible.
 */
export function searched(query: string, channels: number): Set<number> | null {
  const wanted = new Set<number>();
  for (const part of query.split(/[\s,]+/).filter(Boolean)) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (!match) return null;
    const from = Number(match[1]);
    const to = match[2] === undefined ? from : Number(match[2]);
    for (let channel = from; channel <= Math.min(to, channels - 1); channel++) {
      if (channel < channels) wanted.add(channel);
    }
  }
  return wanted;
}
