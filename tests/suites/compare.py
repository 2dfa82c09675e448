"""compare.py NATIVE GUEST: tells how the results of the suites differ, and fails if they do."""

import sys


def results(path):
    """The results by what they are of, and whether the run came to its end."""
    found, is_done = {}, False
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
                is_done = True
    return found, is_done


def main():
    (native, native_done), (guest, guest_done) = (results(path) for path in sys.argv[1:3])
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
    for place, is_done in (("here", native_done), ("in the guest", guest_done)):
        if not is_done:
            print(f"the run {place} did not come to its end")
    sys.exit(differing != 0 or not (native_done and guest_done))


main()
