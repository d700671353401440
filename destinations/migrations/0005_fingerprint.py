from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("destinations", "0004_test_and_read_calls")]
    operations = [migrations.RenameField("destination", "accepted_place", "accepted_fingerprint")]
