using System.Text;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Xml;

namespace Tidemark.Fuzz.Targets;

/// <summary>The XML of backups and checkpoints: what is read is printed and read again as the same, and whatever fits
/// no virtual machine is refused.</summary>
internal sealed class XmlTarget : IFuzzTarget
{
    private static readonly DomainDisk[] s_disks =
    [
        new("vda") { Path = "/i/vda" },
        new("vdb") { Path = "/i/vdb", Format = "raw" },
        new("sda") { HasMedium = false },
    ];

    public string Name => "xml";

    public string Description => "the XML of backups and checkpoints";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Backup"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(10);

    public long MemoryLimit => 256 << 20;

    public int MaximumInput => 16 << 10;

    public IEnumerable<byte[]> Seeds() =>
        new[]
        {
            "<domainbackup/>",
            "<domainbackup mode='pull'><incremental>c1</incremental><server transport='unix' socket='/s'/><disks>"
                + "<disk name='vda' type='file' exportname='e' exportbitmap='b'><driver type='qcow2'/>"
                + "<scratch file='/t'><seclabel model='dac' relabel='yes'><label>l</label></seclabel>"
                + "<encryption format='luks'><secret type='passphrase' usage='u'/><cipher name='aes' size='256'/>"
                + "<ivgen name='plain'/></encryption></scratch></disk><disk name='vdb' backup='no'/></disks>"
                + "</domainbackup>",
            "<domainbackup mode='push'><disks><disk name='vda' type='block' backupmode='full'><target dev='/d'/>"
                + "</disk></disks></domainbackup>",
            "<domainbackup mode='pull'><server tls='yes' name='h' port='1'/><disks><disk name='vda' state='failed' "
                + "index='3'/></disks><privateData><objects><secret type='tlskey' alias='k'/><TLSx509 alias='t'/>"
                + "</objects></privateData></domainbackup>",
            "<domaincheckpoint><name>c</name><description>d &lt;&#10;</description><parent><name>p</name></parent>"
                + "<creationTime>7</creationTime><disks><disk name='vda' checkpoint='bitmap' bitmap='c' size='1'/>"
                + "<disk name='/i/vdb' checkpoint='no'/></disks><domain type='kvm' xmlns:q='urn:q'><name>n</name>"
                + "<q:x y='1'>text<z/>tail</q:x></domain></domaincheckpoint>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><domaincheckpoint>&b;</domaincheckpoint>",
        }.Select(Encoding.UTF8.GetBytes);

    public void Execute(ReadOnlySpan<byte> input)
    {
        var bytes = input.ToArray();
        Try(() =>
        {
            foreach (var isStatus in new[] { false, true })
            {
                using var source = new MemoryStream(bytes);
                var text = BackupXml.Format(BackupXml.Parse(source, isStatus));
                Same(text, BackupXml.Format(BackupXml.Parse(text, isStatus)));
                text = BackupXml.Format(BackupAlignment.Complete(BackupAlignment.Align(
                    BackupXml.Parse(text, isStatus), s_disks, "S")));
                Same(text, BackupXml.Format(BackupXml.Parse(text, isStatus)));
            }
        });
        Try(() =>
        {
            using var source = new MemoryStream(bytes);
            var text = CheckpointXml.Format(CheckpointXml.Parse(source));
            Same(text, CheckpointXml.Format(CheckpointXml.Parse(text)));
            _ = CheckpointAlignment.Align(CheckpointXml.Parse(text), s_disks, 1, null);
        });
    }

    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (BackupException exception) when (exception.Class is not null)
        {
            // What is documented for XML that cannot be used.
        }
    }

    private static void Same(string once, string twice)
    {
        if (once != twice)
        {
            throw new InvalidOperationException($"printed, read and printed again it differs:\n{once}\n---\n{twice}");
        }
    }
}
