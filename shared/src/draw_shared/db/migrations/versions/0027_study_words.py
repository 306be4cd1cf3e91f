"""Each study has the words by which people look for it in one indexed place.

Names of the patient and of other persons whom the study's objects name, Patient ID, accession
number and description: triggers keep them, so that releases that know nothing of it do so too.

Locks and duration: takes `patients`, `studies` and `stated_persons` for a moment, one after the
other as those who write do, to give each its triggers; nobody can write meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

kind = "expand"
compatible_from = "0016"

# They run as the owner of the tables, whoever writes, and look for names nowhere else.
# Each word follows a space. Identifiers stand there as they are, and without what people put
# between their digits.
WORDS = """
CREATE FUNCTION words_of_study(study bigint) RETURNS text LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT ' ' || translate(concat_ws(' ', p.name_search,
        (SELECT string_agg(n.name_search, ' ' ORDER BY n.name_search)
            FROM (SELECT DISTINCT name_search FROM public.stated_persons
                WHERE study_pk = s.id AND name_search <> p.name_search) n),
        lower(p.patient_id), lower(s.accession_number),
        nullif(regexp_replace(lower(p.patient_id), '[^[:alnum:]]', '', 'g'),
            lower(p.patient_id)),
        nullif(regexp_replace(lower(s.accession_number), '[^[:alnum:]]', '', 'g'),
            lower(s.accession_number)),
        s.description_search), '=^,', '   ')
    FROM public.studies s JOIN public.patients p ON p.id = s.patient_pk WHERE s.id = study
$$
"""
WRITE = """
CREATE FUNCTION write_study_words(studies bigint[]) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.study_words AS w (study_pk, words)
    SELECT made.study_pk, made.words
    FROM (SELECT s.id AS study_pk, public.words_of_study(s.id) AS words
        FROM public.studies s WHERE s.id = ANY(studies)) made
    WHERE NOT EXISTS (SELECT FROM public.study_words k
        WHERE k.study_pk = made.study_pk AND k.words = made.words)
    ORDER BY made.study_pk
    ON CONFLICT (study_pk) DO UPDATE SET words = EXCLUDED.words
$$
"""
FUNCTIONS = {
    "keep_words_of_patient": "SELECT id FROM public.studies WHERE patient_pk = NEW.id",
    "keep_words_of_study": "SELECT NEW.id",
    "keep_words_of_studies": "SELECT id FROM more",
    "keep_words_of_persons": "SELECT DISTINCT study_pk FROM changed",
    "keep_words_of_other_persons": "SELECT study_pk FROM less UNION SELECT study_pk FROM more",
}
FUNCTION = """
CREATE FUNCTION NAME() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM public.write_study_words(ARRAY(FOUND));
    RETURN NULL;
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER keep_words_of_patient AFTER UPDATE OF name_search, patient_id ON patients
    FOR EACH ROW WHEN (OLD.name_search <> NEW.name_search OR OLD.patient_id <> NEW.patient_id)
    EXECUTE FUNCTION keep_words_of_patient()
    """,
    """
    CREATE TRIGGER keep_words_of_studies AFTER INSERT ON studies
    REFERENCING NEW TABLE AS more FOR EACH STATEMENT EXECUTE FUNCTION keep_words_of_studies()
    """,
    """
    CREATE TRIGGER keep_words_of_study
    AFTER UPDATE OF patient_pk, accession_number, description_search ON studies
    FOR EACH ROW WHEN (OLD.patient_pk <> NEW.patient_pk
        OR OLD.accession_number <> NEW.accession_number
        OR OLD.description_search <> NEW.description_search)
    EXECUTE FUNCTION keep_words_of_study()
    """,
    """
    CREATE TRIGGER keep_words_of_more_persons AFTER INSERT ON stated_persons
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    EXECUTE FUNCTION keep_words_of_persons()
    """,
    """
    CREATE TRIGGER keep_words_of_less_persons AFTER DELETE ON stated_persons
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
    EXECUTE FUNCTION keep_words_of_persons()
    """,
    """
    CREATE TRIGGER keep_words_of_other_persons AFTER UPDATE ON stated_persons
    REFERENCING OLD TABLE AS less NEW TABLE AS more FOR EACH STATEMENT
    EXECUTE FUNCTION keep_words_of_other_persons()
    """,
)


def upgrade() -> None:
    op.create_table(
        "study_words",
        sa.Column("study_pk", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("words", sa.Text(collation="C"), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["study_pk"],
            ["studies.id"],
            name=op.f("fk_study_words_study_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("study_pk", name=op.f("pk_study_words")),
    )
    op.execute(WORDS)
    op.execute(WRITE)
    for name, found in FUNCTIONS.items():
        op.execute(FUNCTION.replace("NAME", name).replace("FOUND", found))
    for trigger in TRIGGERS:
        op.execute(trigger)
