"""Certificates that mails are encrypted for, in the region file or beside it."""

from pathlib import Path

from vin.crypto.smime import CertificateError, read_certificate
from vin.errors import StartError
from vin.region import Organisation, Region

PEM = "-----BEGIN"


def with_certificates(region: Region, folder: Path) -> Region:
    """The region with every certificate in it as PEM, or StartError with every fault.

    `folder` is the region file's.
    """
    faults: list[str] = []
    organisations = [_with_certificate(each, folder, faults) for each in region.organisations]
    if faults:
        raise StartError("\n  ".join(["These certificates cannot be used:", *faults]))
    return region.model_copy(update={"organisations": organisations})


def _with_certificate(organisation: Organisation, folder: Path, faults: list[str]) -> Organisation:
    given = organisation.smime_certificate
    if given is None:
        return organisation
    try:
        pem = given if given.startswith(PEM) else (folder / given).read_text(encoding="ascii")
        read_certificate(pem.encode())
    except (OSError, UnicodeDecodeError):
        faults.append(f"{organisation.code}: {folder / given} cannot be read")
    except CertificateError as error:
        faults.append(f"{organisation.code}: {error}")
    else:
        return organisation.model_copy(update={"smime_certificate": pem})
    return organisation
