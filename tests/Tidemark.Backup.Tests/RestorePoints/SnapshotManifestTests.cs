using System.Text;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.RestorePoints;

namespace Tidemark.Backup.Tests.RestorePoints;

public sealed class SnapshotManifestTests
{
    private static readonly SnapshotManifest s_manifest = new()
    {
        VmName = "vm",
        Mode = BackupMode.Push,
        RunId = "0123456789abcdef",
        Checkpoint = "tidemark-0123456789abcdef",
        Disks =
        [
            new ManifestDisk
            {
                Name = "vda", Node = "n", Driver = "qcow2", Filename = "/srv/a \"b\".qcow2", Size = 1 << 30, ChunkSize =
                    1 << 20,
                Kind = DiskKind.ReRead, Reason = "because", Parent = "feed", Bitmap = "tidemark-0123456789abcdef",
                Granularity = 65536, BytesDirty = 1, BytesRead = 2, BytesStored = 3, Seconds = 4.5,
            },
            new ManifestDisk
            {
                Name = "vdb", Node = "m", Driver = "raw", Filename = "", Size = 0, ChunkSize = 1 << 20, Kind =
                    DiskKind.Full,
                Reason = "",
            },
        ],
    };

    [Fact]
    public void What_is_written_is_read()
    {
        var read = SnapshotManifest.Parse(s_manifest.ToJson(), "test");
        Assert.Equal(s_manifest.Disks, read.Disks);
        Assert.Equal(s_manifest with { Disks = read.Disks }, read);
    }

    [Theory]
    [InlineData("\"version\": 1", "\"version\": 2")]
    [InlineData("\"granularity\": 65536", "\"granularity\": -1")]
    [InlineData("\"granularity\": 65536,", "")]
    [InlineData("\"bitmap\": \"tidemark-0123456789abcdef\",", "")]
    [InlineData("\"kind\": \"re-read\"", "\"kind\": \"guessed\"")]
    [InlineData("\"name\": \"vda\"", "\"name\": \"../vda\"")]
    [InlineData("\"mode\": \"push\"", "\"mode\": 1")]
    [InlineData("{", "[")]
    public void What_is_missing_or_out_of_range_is_an_error(string old, string replacement)
    {
        var text = Encoding.UTF8.GetString(s_manifest.ToJson());
        var at = text.IndexOf(old, StringComparison.Ordinal);
        Assert.True(at >= 0, old);
        var damaged = Encoding.UTF8.GetBytes(text[..at] + replacement + text[(at + old.Length)..]);
        var error = Assert.Throws<BackupException>(() => SnapshotManifest.Parse(damaged, "test"));
        Assert.Equal(BackupErrorKind.Manifest, error.Kind);
    }

    [Fact]
    public void A_file_over_the_limit_is_not_looked_at() => Assert.Throws<BackupException>(
        () => SnapshotManifest.Parse(new byte[SnapshotManifest.MaximumLength + 1], "test"));
}
