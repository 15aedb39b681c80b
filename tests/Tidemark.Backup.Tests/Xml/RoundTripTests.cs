using System.Xml.Linq;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Tests.Transcripts;
using Tidemark.Backup.Xml;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Xml;

public sealed class RoundTripTests
{
    /// <summary>Whatever can be said comes back as it was said.</summary>
    [Fact]
    public void What_is_printed_is_read_back_the_same() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 500; round++)
        {
            var disks = Enumerable.Range(0, random.Next(1, 5)).Select(_ => Disk(random)).ToArray();
            var backup = new BackupDefinition
            {
                Mode = BackupMode.Pull,
                Incremental = random.Next(2) == 0 ? null : Text(random),
                Server = new BackupServer { Transport = ServerTransport.Unix, Socket = "/" + Text(random) },
                Disks = disks,
            };
            var text = BackupXml.Format(backup);
            var again = BackupXml.Parse(text);
            Assert.Equal(text, BackupXml.Format(again));
            Assert.Equal(backup.Server, again.Server);
            Assert.Equal(disks.Select(Describe), again.Disks!.Select(Describe));
        }
    });

    /// <summary>Definitions that people wrote for libvirt, where they lie beside the repository: those that libvirt
    /// took are read, and come back the same; those that its schema refuses are refused.</summary>
    [Fact]
    public void Definitions_written_for_libvirt_come_back_the_same()
    {
        var folder = Shared.Folder("facts/qmp/libvirt-xml");
        Assert.SkipWhen(folder is null, "no shared/facts/qmp beside the repository");
        var read = 0;
        foreach (var path in Directory.EnumerateFiles(folder!, "*.xml").Order())
        {
            var text = File.ReadAllText(path);
            var isBackup = text.Contains("<domainbackup", StringComparison.Ordinal);
            if (!isBackup && !text.Contains("<domaincheckpoint", StringComparison.Ordinal))
            {
                continue;
            }

            string Once(string xml) => isBackup
                ? BackupXml.Format(BackupXml.Parse(xml))
                : CheckpointXml.Format(CheckpointXml.Parse(xml));
            var name = Path.GetFileNameWithoutExtension(path);
            if (s_refusedBySchema.Contains(name))
            {
                Assert.Throws<BackupException>(() => Once(text));
            }
            else
            {
                var once = Once(text);
                Assert.True(once == Once(once), name);
                Assert.Equal((name, ""), (name, string.Join('\n', Lost(XElement.Parse(text), XElement.Parse(once)))));
                read++;
            }
        }

        Assert.True(read > 40, $"{read} read");
    }

    private static readonly string[] s_refusedBySchema =
    [
        "err-bad-mode", "err-chk-slash", "err-exportname-in-push", "err-network-target", "err-pull-no-port",
        "err-pull-raw-scratch", "err-push-server", "err-rel-socket",
    ];

    /// <summary>The judge of the test above: an element, an attribute or a text that did not come back is
    /// named.</summary>
    [Theory]
    [InlineData("<a><b c='1'/></a>", "<a><b/></a>", "a/b@c=1")]
    [InlineData("<a><b>t</b></a>", "<a><b>u</b></a>", "a/b: t")]
    [InlineData("<a><b/><b/></a>", "<a><b/></a>", "a/b[2]")]
    [InlineData("<a><b/></a>", "<a><c/><b d='e'/></a>", "")]
    public void What_is_lost_is_named(string before, string after, string lost) =>
        Assert.Equal(lost, string.Join('\n', Lost(XElement.Parse(before), XElement.Parse(after))));

    // What one tree has and the other has not; what was added, defaults for example, is nothing lost.
    private static IEnumerable<string> Lost(XElement before, XElement after, string where = "")
    {
        where += before.Name.LocalName;
        foreach (var attribute in before.Attributes().Where(one => (string?)after.Attribute(one.Name) != one.Value))
        {
            yield return $"{where}@{attribute.Name}={attribute.Value}";
        }

        if (!before.HasElements && before.Value.Trim() != after.Value.Trim())
        {
            yield return $"{where}: {before.Value}";
        }

        foreach (var group in before.Elements().GroupBy(child => child.Name))
        {
            var there = after.Elements(group.Key).ToArray();
            var number = 0;
            foreach (var child in group)
            {
                foreach (var lost in number < there.Length
                    ? Lost(child, there[number], where + "/")
                    : [$"{where}/{group.Key}[{number + 1}]"])
                {
                    yield return lost;
                }

                number++;
            }
        }
    }

    private static BackupDisk Disk(Random random)
    {
        var isFull = random.Next(2) == 0;
        return new BackupDisk("vd" + (char)('a' + random.Next(26)))
        {
            Kind = random.Next(2) == 0 ? ImageKind.Block : ImageKind.File,
            Mode = isFull ? DiskBackupMode.Full : DiskBackupMode.Incremental,
            Incremental = isFull ? null : Text(random),
            ExportName = Text(random),
            ExportBitmap = random.Next(2) == 0 ? null : Text(random),
            Format = "qcow2",
            Image = new BackupImage("/" + Text(random))
            {
                Labels = random.Next(2) == 0 ? [] : [new SecurityLabel(Text(random), true, false, Text(random))],
                Encryption = Encryption(random),
            },
        };
    }

    private static ImageEncryption? Encryption(Random random)
    {
        // The schema has the two together or neither.
        var hasCipher = random.Next(2) == 0;
        return random.Next(2) == 0 ? null : new ImageEncryption(
            "luks",
            random.Next(2) == 0 ? null : "qemu",
            new EncryptionSecret("passphrase", null, Text(random)),
            hasCipher ? new EncryptionCipher(Text(random), 256, Text(random), Text(random)) : null,
            hasCipher ? new EncryptionVector(Text(random), null) : null);
    }

    private static string Text(Random random) =>
        string.Concat(Enumerable.Range(0, random.Next(1, 30)).Select(_ => "abc<>&'\" \t\né\rx"[random.Next(14)]));

    private static string Describe(BackupDisk disk)
    {
        var image = disk.Image!;
        return $"{disk with { Image = null }} {image.Path} {string.Join(' ', image.Labels)} {image.Encryption}";
    }
}
