/** Numbers as people read them. */

/** Bytes, as "12.3 MB". */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** A duration, as "1:05" or "2:03:09". */
export function duration(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A speed in millions of instructions a second. */
export function speed(mips: number): string {
  return `${mips < 10 ? mips.toFixed(1) : Math.round(mips)} MIPS`;
}

/** Memory in MiB, as "1 GiB" where it is whole. */
export function memory(mebibytes: number): string {
  return mebibytes % 1024 === 0 ? `${mebibytes / 1024} GiB` : `${mebibytes} MiB`;
}
