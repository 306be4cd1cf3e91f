"""Nodes in memory that have earlier studies of a patient."""

from support.generated_node import GeneratedNode, Index

HONEST = {"NumberOfStudyRelatedInstances": lambda number: number}


def study(uid, day, moment="110000", patient="P1", instances=1):
    return [
        {
            "PatientID": patient,
            "StudyInstanceUID": uid,
            "StudyDate": day,
            "StudyTime": moment,
            "AccessionNumber": "",
            "SeriesInstanceUID": f"{uid}.1",
            "SOPInstanceUID": f"{uid}.1.{n}",
            "ModalitiesInStudy": "CT",
            "IssuerOfPatientID": "",
        }
        for n in range(instances)
    ]


OLD = study("1.2", "20260101"), study("1.3", "20260301"), study("1.4", "20260201")


def telling(objects, numbers=HONEST, **faults):
    """Return a node that tells whose its studies are, and their modalities."""

    class Telling(GeneratedNode):
        def _row(self, level, of):
            told = {k: of[0][k] for k in ("PatientID", "ModalitiesInStudy", "IssuerOfPatientID")}
            row = super()._row(level, of) | told
            return {k: v for k, v in row.items() if k not in self.left_out}

    held = [one for study in objects for one in study]
    return Telling(held, Index(), numbers=numbers, **faults)
