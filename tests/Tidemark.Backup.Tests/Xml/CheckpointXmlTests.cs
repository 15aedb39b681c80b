using Tidemark.Backup.Definitions;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Tests.Xml;

public sealed class CheckpointXmlTests
{
    private const string Everything =
        """
        <domaincheckpoint>
          <name>c2</name>
          <description>before &amp; after
        the update</description>
          <parent>
            <name>c1</name>
          </parent>
          <creationTime>1795379314</creationTime>
          <disks>
            <disk name='vda' checkpoint='bitmap' bitmap='c2' size='1048576'/>
            <disk name='vdb' checkpoint='no'/>
          </disks>
          <domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
            <name>vm</name>
            <memory unit='KiB'>1024</memory>
            <devices>
              <disk type='file'>
                <source file='/i/&lt;a&gt;'/>
              </disk>
            </devices>
            <qemu:commandline>
              <qemu:arg value='-foo'/>
            </qemu:commandline>
          </domain>
        </domaincheckpoint>

        """;

    private static readonly DomainDisk[] s_machine =
    [
        new("vda") { Path = "/i/vda" },
        new("vdb") { Path = "/i/vdb" },
        new("sda") { HasMedium = false },
        new("vdr") { Path = "/i/vdr", IsReadOnly = true },
    ];

    [Fact]
    public void Everything_is_kept_and_printed_in_order()
    {
        Assert.Equal(Everything, CheckpointXml.Format(CheckpointXml.Parse(Everything)));
        Assert.DoesNotContain(
            "<domain ",
            CheckpointXml.Format(CheckpointXml.Parse(Everything), withDomain: false),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<domaincheckpoint><name>../escape</name></domaincheckpoint>", "no checkpoint's name")]
    [InlineData("<domaincheckpoint><name>.hidden</name></domaincheckpoint>", "no checkpoint's name")]
    [InlineData("<domaincheckpoint><name>a/b</name></domaincheckpoint>", "no checkpoint's name")]
    [InlineData("<domaincheckpoint><name>a b</name></domaincheckpoint>", "letters (a to z), digits, '_', '-' and '.'")]
    [InlineData("<domaincheckpoint><name/></domaincheckpoint>", "no checkpoint's name")]
    [InlineData("<domaincheckpoint><creationTime/></domaincheckpoint>", "no number of seconds")]
    [InlineData("<domaincheckpoint><parent><name/></parent></domaincheckpoint>", "no checkpoint's name")]
    [InlineData("<domaincheckpoint><parent/></domaincheckpoint>", "has no 'name'")]
    [InlineData("<domaincheckpoint><creationTime>soon</creationTime></domaincheckpoint>", "no number of seconds")]
    [InlineData("<domaincheckpoint><disks/></domaincheckpoint>", "1 to 256 disks")]
    [InlineData("<domaincheckpoint><disks><disk/></disks></domaincheckpoint>", "has no attribute 'name'")]
    [InlineData(
        "<domaincheckpoint><disks><disk name='a' checkpoint='yes'/></disks></domaincheckpoint>", "'yes' is no value")]
    [InlineData(
        "<domaincheckpoint><disks><disk name='a' checkpoint='no' bitmap='b'/></disks></domaincheckpoint>",
        "must not have attribute 'bitmap'")]
    [InlineData("<domaincheckpoint><surprise/></domaincheckpoint>", "must not hold 'surprise'")]
    [InlineData("<domainbackup/>", "the element is 'domainbackup'")]
    public void What_the_schema_refuses_is_refused_by_name(string xml, string message)
    {
        var exception = Assert.Throws<BackupException>(() => CheckpointXml.Parse(xml));
        Assert.Equal(ErrorClass.Schema, exception.Class);
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<disk name='x'/>", "no disk named 'x'")]
    [InlineData("<disk name='/i/nowhere'/>", "no disk named '/i/nowhere'")]
    [InlineData("<disk name='vda'/><disk name='/i/vda'/>", "disk 'vda' specified twice")]
    [InlineData("<disk name='sda'/>", "disk 'sda' is empty or readonly")]
    [InlineData("<disk name='vdr'/>", "disk 'vdr' is empty or readonly")]
    [InlineData("<disk name='vda' bitmap='other'/>", "bitmap for disk 'vda' must match checkpoint name 'c'")]
    [InlineData(
        "<disk name='a'/><disk name='b'/><disk name='c'/><disk name='d'/><disk name='e'/>", "too many disk checkpoint")]
    public void What_does_not_fit_the_machine_is_refused_with_libvirts_words(string disks, string message)
    {
        var xml = $"<domaincheckpoint><name>c</name><disks>{disks}</disks></domaincheckpoint>";
        var exception = Assert.Throws<BackupException>(
            () => CheckpointAlignment.Align(CheckpointXml.Parse(xml), s_machine, 1, null));
        Assert.Equal(ErrorClass.Unsupported, exception.Class);
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_size_that_is_written_is_not_taken_over()
    {
        var checkpoint = CheckpointXml.Parse(
            "<domaincheckpoint><name>c</name><creationTime>1</creationTime><disks><disk name='vda' size='7'/></disks>"
                + "</domaincheckpoint>");
        Assert.Equal(7, checkpoint.Disks![0].Size);
        Assert.Null(CheckpointAlignment.Align(checkpoint, s_machine, 1, null).Disks![0].Size);
        Assert.Null(CheckpointAlignment.AlignRedefinition(checkpoint, s_machine).Disks![0].Size);
    }

    [Fact]
    public void A_disk_may_be_named_by_its_path_and_the_unlisted_get_none()
    {
        var aligned = CheckpointAlignment.Align(
            CheckpointXml.Parse("<domaincheckpoint><disks><disk name='/i/vdb'/></disks></domaincheckpoint>"),
            s_machine, 7, "older");
        Assert.Equal("7", aligned.Name);
        Assert.Equal("older", aligned.Parent);
        Assert.Equal(
            ["vda False ", "vdb True 7", "sda False ", "vdr False "],
            aligned.Disks!.Select(disk => $"{disk.Name} {disk.HasBitmap} {disk.Bitmap}"));
    }

    [Theory]
    [InlineData("<domaincheckpoint/>", "must have a name")]
    [InlineData("<domaincheckpoint><name>a</name></domaincheckpoint>", "missing creationTime")]
    [InlineData(
        "<domaincheckpoint><name>a</name><creationTime>1</creationTime><parent><name>a</name></parent>"
        + "</domaincheckpoint>",
        "as its own parent")]
    public void A_redefinition_says_when_and_after_which(string xml, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<BackupException>(
                () => CheckpointAlignment.AlignRedefinition(CheckpointXml.Parse(xml), s_machine)).Message,
            StringComparison.Ordinal);
}
