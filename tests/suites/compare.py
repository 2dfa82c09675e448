"""compare.py NATIVE GUEST RUNS: tells how the results of the suites differ, of so many runs each, and fails if they do."""

import sys


def results(path):
    """The results by what they are of, and how many runs came to their end."""
    found, ends = {}, 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.strip().split()
            if words[:1] == ["TEST"] and len(words) >= 4:
                found[("test", words[1], words[2])] = " ".join(words[3:])
            elif words[:1] == ["MODULE"] and len(words) == 5:
                # Without the seconds.
                found[("module", words[1])] = f"{words[2]}, {words[3]} tests"
            elif words[:1] == ["SSL"]:
                found[("openssl", words[1])] = " ".join(words[2:])
            elif words == ["SUITES", "END"]:
                ends += 1
    return found, ends


def main():
    (native, native_ends), (guest, guest_ends) = (results(path) for path in sys.argv[1:3])
    runs = int(sys.argv[3])
    differing = 0
    for name in sorted(native.keys() | guest.keys()):
        mine, others = native.get(name, "not run"), guest.get(name, "not run")
        if mine != others:
            differing += 1
            print(f"DIFFERS {' '.join(name)}: here {mine}, in the guest {others}")
    count = lambda kind: sum(name[0] == kind for name in guest)
    passed = sum(name[0] == "module" and result.startswith("ok,") for name, result in guest.items())
    print(
        f"{count('module')} modules ({passed} passed), {count('test')} tests and {count('openssl')} results of OpenSSL "
        f"compared; {differing} differ"
    )
    for place, ends in (("here", native_ends), ("in the guest", guest_ends)):
        if ends != runs:
            print(f"{runs - ends} of {runs} runs {place} did not come to their end")
    sys.exit(differing != 0 or native_ends != runs or guest_ends != runs)


main()
