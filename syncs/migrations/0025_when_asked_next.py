from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("syncs", "0024_alert_without_its_ways")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="job_due",
            field=models.DateTimeField(null=True),
        ),
    ]
