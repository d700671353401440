from django.db import migrations, models

CHOICES = [
    ("read", "Read: sees what you may see"),
    ("run", "Run: also runs, pauses, approves, uploads and decides, as an operator does"),
    ("configure", "Configure: everything that you may do"),
]


class Migration(migrations.Migration):
    dependencies = [("cohortsite", "0021_whole_lists")]

    operations = [
        # A token that there is goes on as it did.
        migrations.AddField(
            model_name="apitoken",
            name="scope",
            field=models.CharField(choices=CHOICES, default="configure", max_length=10),
        ),
        migrations.AlterField(
            model_name="apitoken",
            name="scope",
            field=models.CharField(choices=CHOICES, default="read", max_length=10),
        ),
    ]
