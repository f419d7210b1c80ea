# SPDX-License-Identifier: Apache-2.0
"""Makes certificates for tests of TLS, by openssl: certificates.py DIRECTORY

In DIRECTORY a folder each, with the files that --tls x509 wants: good (both sides; the target is
localhost, target.test, 127.0.0.1 and 10.0.0.1 to 10.0.0.4), p384 (the same by another curve), rsa,
rsa2050 and rsa4096 (the same by RSA), rsa1024 (too small), mixed (RSA signed by P-256), chain
(rsa4096 with three authorities in between), longchain (with four), cutchain (longchain, of which
each side shows three; the fourth is in longchain/between0), expired, later (not valid yet),
foreign (another authority), swapped (each side has the other's), source-only and target-only (by
RSA).
"""
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ["DNS:localhost", "DNS:target.test", "IP:127.0.0.1", *[f"IP:10.0.0.{n}" for n in range(1, 5)]]
EXTENSIONS = {
    "ca": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign",
    "server": "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\nsubjectAltName="
              + ",".join(NAMES),
    "client": "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth",
}
VALID = ("20240101000000Z", "20991231235959Z")
EXPIRED = ("20200101000000Z", "20210101000000Z")
LATER = ("20980101000000Z", "20991231235959Z")


def openssl(*words, folder):
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"certificates: openssl {' '.join(words)}: {done.stderr}")


rsa_keys = {}  # by their bits: one is enough for all, and takes a second to find


def make_key(folder, name, kind):
    if kind in rsa_keys:
        shutil.copy(rsa_keys[kind], folder / name)
        return
    is_rsa = isinstance(kind, int)
    how = ["RSA", "-pkeyopt", f"rsa_keygen_bits:{kind}"] if is_rsa else \
        ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
    openssl("genpkey", "-algorithm", *how, "-out", name, folder=folder)
    (folder / name).chmod(0o600)
    if is_rsa:
        rsa_keys[kind] = folder.resolve() / name


def sign(folder, name, key, authority, valid):
    """A certificate for `key`, signed by the key and certificate of `authority`; None: by itself."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    (work / "index").write_text("")
    (work / "serial").write_text("01\n")
    (work / "config").write_text(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=work/index\nserial=work/serial\nnew_certs_dir=work\n"
        "default_md=sha384\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n[extensions]\n"
        + EXTENSIONS[name] + "\n")
    openssl("req", "-new", "-key", key, "-subj", f"/CN=godwit test {name} {folder.name}", "-out", "work/request",
            folder=folder)
    signer = ["-selfsign", "-keyfile", key] if authority is None else \
        ["-keyfile", f"{authority}/ca-key.pem", "-cert", f"{authority}/ca-cert.pem"]
    openssl("ca", "-batch", "-notext", "-config", "work/config", "-extensions", "extensions",
            "-startdate", valid[0], "-enddate", valid[1], "-in", "work/request",
            "-out", f"{name}-cert.pem", *signer, folder=folder)
    shutil.rmtree(work)


def make(folder, kind="P-256", valid=VALID, authority=None):
    """All files, with keys of a curve, or of so many bits of RSA; with an authority of its own
    unless another's folder is given."""
    folder.mkdir(parents=True)
    if authority is None:
        make_key(folder, "ca-key.pem", kind)
        sign(folder, "ca", "ca-key.pem", None, VALID)
        authority = folder
    else:
        shutil.copy(authority / "ca-cert.pem", folder)
    for side in ("server", "client"):
        make_key(folder, f"{side}-key.pem", kind)
        sign(folder, side, f"{side}-key.pem", authority.resolve(), valid)


def make_chain(folder, kind, count):
    """So many authorities between the one that is believed and the certificates of both sides."""
    folder.mkdir(parents=True)
    make_key(folder, "ca-key.pem", kind)
    sign(folder, "ca", "ca-key.pem", None, VALID)
    authority, between = folder.resolve(), ""
    for number in range(count):
        own = folder.resolve() / f"between{number}"
        own.mkdir()
        make_key(own, "ca-key.pem", kind)
        sign(own, "ca", "ca-key.pem", authority, VALID)
        between = (own / "ca-cert.pem").read_text() + between
        authority = own
    for side in ("server", "client"):
        make_key(folder, f"{side}-key.pem", kind)
        sign(folder, side, f"{side}-key.pem", authority, VALID)
        with open(folder / f"{side}-cert.pem", "a", encoding="ascii") as file:
            file.write(between)


def make_swapped(folder, good):
    folder.mkdir()
    shutil.copy(good / "ca-cert.pem", folder)
    for mine, others in (("server", "client"), ("client", "server")):
        for kind in ("cert", "key"):
            shutil.copy(good / f"{others}-{kind}.pem", folder / f"{mine}-{kind}.pem")


def make_cut(folder, whole):
    shutil.copytree(whole, folder)
    for side in ("server", "client"):
        file = folder / f"{side}-cert.pem"
        text = file.read_text()
        file.write_text(text[:text.rindex("-----BEGIN")])


def make_half(folder, whole, side):
    folder.mkdir()
    for name in ("ca-cert.pem", f"{side}-cert.pem", f"{side}-key.pem"):
        shutil.copy(whole / name, folder)


def main(directory):
    shutil.rmtree(directory, ignore_errors=True)
    good = directory / "good"
    make(good)
    make(directory / "p384", kind="P-384")
    make(directory / "rsa", kind=2048)
    make(directory / "rsa4096", kind=4096)
    make(directory / "rsa2050", kind=2050)
    make(directory / "rsa1024", kind=1024)
    make(directory / "mixed", kind=2048, authority=good)
    make_chain(directory / "chain", 4096, 3)
    make_chain(directory / "longchain", "P-256", 4)
    make_cut(directory / "cutchain", directory / "longchain")
    make(directory / "expired", valid=EXPIRED, authority=good)
    make(directory / "later", valid=LATER, authority=good)
    make(directory / "foreign")
    make_swapped(directory / "swapped", good)
    make_half(directory / "source-only", directory / "rsa", "client")
    make_half(directory / "target-only", directory / "rsa", "server")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
