"""What the processor gives without any server: RSA-2048 signatures and argon2id hashes per CPU-second.

Run on the server's core as `bare.py rsa SECONDS` or `bare.py argon2 SECONDS THREADS`; prints operations per CPU-second.
"""

import sys
import threading
import time
from collections.abc import Callable

# The defaults of IDP_ARGON2_MEMORY_KIB and IDP_ARGON2_TIME_COST, and one lane.
ARGON2 = {"memory_cost": 19 * 1024, "time_cost": 2, "parallelism": 1}
JWT_SIGNING_INPUT = b"x" * 420


def rsa_signing() -> Callable[[], object]:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pkcs1, sha256 = padding.PKCS1v15(), SHA256()
    return lambda: key.sign(JWT_SIGNING_INPUT, pkcs1, sha256)


def argon2_verification() -> Callable[[], object]:
    from argon2 import PasswordHasher

    hasher = PasswordHasher(**ARGON2)
    encoded = hasher.hash("correct-horse-battery")
    return lambda: hasher.verify(encoded, "correct-horse-battery")


def per_cpu_second(operation: Callable[[], object], *, seconds: float, threads: int) -> float:
    counts = [0] * threads
    deadline = time.perf_counter() + seconds

    def work(index: int) -> None:
        while time.perf_counter() < deadline:
            operation()
            counts[index] += 1

    workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    began = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.process_time() - began)


if __name__ == "__main__":
    kind, duration, *rest = sys.argv[1:]
    operation = {"rsa": rsa_signing, "argon2": argon2_verification}[kind]()
    print(per_cpu_second(operation, seconds=float(duration), threads=int(rest[0]) if rest else 1))
