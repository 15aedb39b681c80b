using Tidemark.Backup.Definitions;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Tests.Xml;

public sealed class BackupXmlTests
{
    private const string Secret = "<secret type='passphrase' usage='u'/>";

    // Every element and attribute that the form has, as it is printed.
    private static readonly string s_everything =
        """
        <domainbackup mode='pull'>
          <incremental>c1</incremental>
          <server transport='tcp' tls='yes' name='backup.example' port='10809'/>
          <disks>
            <disk name='vda' ATTRIBUTES>
              <driver type='qcow2'/>
              <scratch file='/s/vda'>
                <seclabel model='dac' relabel='no'/>
                <seclabel model='selinux' relabel='yes'>
                  <label>system_u:object_r:x</label>
                </seclabel>
                <encryption format='luks' engine='qemu'>
                  <secret type='passphrase' uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'/>
                  <cipher name='aes' size='256' mode='cbc' hash='sha256'/>
                  <ivgen name='plain64' hash='sha256'/>
                </encryption>
              </scratch>
            </disk>
            <disk name='vdb' backup='yes' state='cancelled' type='block' backupmode='full'>
              <driver type='qcow2'/>
              <scratch dev='/dev/vg/s'>
                <seclabel labelskip='yes'/>
                <encryption format='luks'>
                  <secret type='passphrase' usage='/s/vdb'/>
                </encryption>
              </scratch>
            </disk>
            <disk name='vdc' backup='no'/>
          </disks>
          <privateData>
            <objects>
              <secret type='tlskey' alias='key'/>
              <TLSx509 alias='tls'/>
            </objects>
          </privateData>
        </domainbackup>

        """.Replace(
            "ATTRIBUTES",
            "backup='yes' state='running' type='file' backupmode='incremental' incremental='c1' "
            + "exportname='a &lt;&amp;&apos;' exportbitmap='b' index='13'",
            StringComparison.Ordinal);

    public static TheoryData<string, string> Refused => new()
    {
        { "<domainbackup mode='foo'/>", "'foo' is no value for attribute 'mode'" },
        { "<domainbackup mode='pull'/>", "needs the element 'server'" },
        { "<domainbackup><server name='a' port='1'/></domainbackup>", "use of <server> requires pull mode backup" },
        { Pull("<server transport='rdma' name='a'/>"), "'rdma' is no value for attribute 'transport'" },
        { Pull("<server transport='unix' socket='a'/>"), "backup socket path 'a' must be absolute" },
        { Pull("<server transport='unix'/>"), "has no attribute 'socket'" },
        { Pull("<server transport='fd'/>"), "has no attribute 'fdgroup'" },
        { Pull("<server port='10809'/>"), "has no attribute 'name'" },
        { Pull("<server name='a' port='99999'/>"), "'99999' is no value for attribute 'port'" },
        { Pull("<server name='a b'/>"), "'a b' is no value for attribute 'name'" },
        { Pull("<server name='a' tls='maybe'/>"), "'maybe' is no value for attribute 'tls'" },
        { Pull("<server name='a' socket='/s'/>"), "must not have attribute 'socket'" },
        { Push(""), "1 to 256 disks" },
        { Push("<disk/>"), "has no attribute 'name'" },
        { Push("<disk name='/images/vda'/>"), "is no value for attribute 'name'" },
        { Push("<disk name='vda' backup='maybe'/>"), "'maybe' is no value" },
        { Push("<disk name='vda' backupmode='full' incremental='c'/>"), "excludes attribute 'incremental'" },
        { Push("<disk name='vda' exportname='q'/>"), "must not have attribute 'exportname'" },
        { Push("<disk name='vda' exportbitmap='q'/>"), "must not have attribute 'exportbitmap'" },
        { Push("<disk name='vda' state='running'/>"), "must not have attribute 'state'" },
        { Push("<disk name='vda' index='4'/>"), "must not have attribute 'index'" },
        { Push("<disk name='vda'><scratch file='/a'/></disk>"), "must not hold 'scratch'" },
        { Push("<disk name='vda' type='file'><target dev='/a'/></disk>"), "has no attribute 'file'" },
        { Push("<disk name='vda' type='block'><target file='/a'/></disk>"), "has no attribute 'dev'" },
        { Push("<disk name='vda' type='file'><target file='a'/></disk>"), "'a' is no value for attribute 'file'" },
        { Push("<disk name='vda'><target file='/a'/><target file='/b'/></disk>"), "more than one 'target'" },
        { Push("<disk name='vda'><driver type='zip'/></disk>"), "'zip' is no value for attribute 'type'" },
        { Push("<disk name='vda' backup='no' type='file'/>"), "must not have attribute 'type'" },
        { Push("<disk name='vda'>text</disk>"), "must not hold text" },
        { Push(Encrypted("<secret type='passphrase'/>")), "either 'uuid' or 'usage'" },
        { Push(Encrypted("<secret type='volume' usage='u'/>")), "'volume' is no value" },
        { Push(Encrypted("")), "has no 'secret'" },
        { "<domainbackup><privateData/></domainbackup>", "must not hold 'privateData'" },
        { "<domainbackup><incremental>a<b/></incremental></domainbackup>", "holds text only" },
        { "<domainbackup><surprise/></domainbackup>", "must not hold 'surprise'" },
        { "<domainbackup xmlns='urn:x'/>", "the element is" },
        { "<domainbackup xmlns:x='urn:x' x:mode='push'/>", "must not have attribute 'mode'" },
        { "<domainbackup xmlns:x='urn:x'><x:disks/></domainbackup>", "must not hold 'disks'" },
        { "<domaincheckpoint/>", "the element is 'domaincheckpoint'" },
        { PullScratch("<driver type='raw'/>"), "requires qcow2 driver" },
        { Push("<disk name='vda'><driver type='luks'/></disk>"), "'luks' is no value for attribute 'type'" },
        { Pull("<server name='[::1]'/>"), "'[::1]' is no value for attribute 'name'" },
        { Pull("<server name='fe80::1%eth0'/>"), "'fe80::1%eth0' is no value for attribute 'name'" },
        { Pull("<server name='a_b'/>"), "'a_b' is no value for attribute 'name'" },
        { Pull("<server name='::1'/><disks><disk name='vda' type='block'/></disks>"), "needs the element 'scratch'" },
        { Push(Labelled("<seclabel model='dac'/>")), "just one of relabel='no'" },
        { Push(Labelled("<seclabel model='dac' relabel='yes'/>")), "just one of relabel='no'" },
        { Push(Labelled("<seclabel relabel='no' labelskip='yes'/>")), "just one of relabel='no'" },
        { Push(Labelled("<seclabel labelskip='no'/>")), "'no' is no value for attribute 'labelskip'" },
        { Push(Labelled("<seclabel relabel='no'><label>l</label></seclabel>")), "relabelling is turned off" },
        {
            Push(Labelled("<seclabel model='dac' relabel='no'/><seclabel model='dac' labelskip='yes'/>")),
            "two labels of one security model"
        },
        { Push(Encrypted(Secret + "<cipher name='aes' size='256'/>")), "both of 'cipher' and 'ivgen'" },
        { Push(Encrypted(Secret + "<ivgen name='plain64'/>")), "both of 'cipher' and 'ivgen'" },
        {
            Push(Encrypted(Secret + "<cipher name='aes' size='256' mode='xts'/><ivgen name='plain64'/>")),
            "both of 'mode' and 'hash'"
        },
        { Push(Encrypted("<secret type='passphrase' uuid='0a81f5b2'/>")), "'0a81f5b2' is no value" },
    };

    [Fact]
    public void Everything_is_kept_and_printed_in_order() =>
        Assert.Equal(s_everything, BackupXml.Format(BackupXml.Parse(s_everything, isStatus: true)));

    [Fact]
    public void Defaults_are_those_of_libvirt()
    {
        var backup = BackupXml.Parse("<domainbackup/>");
        Assert.Equal(BackupMode.Push, backup.Mode);
        Assert.Null(backup.Disks);
        var pull = BackupXml.Parse(Pull("<server name='::1'/><disks><disk name='a'/></disks>"));
        Assert.Equal(ServerTransport.Tcp, pull.Server!.Transport);
        Assert.Null(pull.Server.Port);
        Assert.Null(pull.Server.Tls);
        Assert.Equal(new BackupDisk("a"), pull.Disks![0]);
    }

    [Fact]
    public void A_port_of_zero_is_none_and_a_uuid_is_printed_with_dashes()
    {
        Assert.Null(BackupXml.Parse(Pull("<server name='10.0.0.1' port='0'/>")).Server!.Port);
        Assert.Equal(10809, BackupXml.Parse(Pull("<server name='a-1.b' port='010809'/>")).Server!.Port);
        var backup = BackupXml.Parse(
            Push(Encrypted("<secret type='passphrase' uuid='0A81F5B284037B23C8D621CCC2F80D6F'/>")));
        Assert.Contains(
            "uuid='0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f'", BackupXml.Format(backup), StringComparison.Ordinal);
    }

    [Fact]
    public void A_prefix_that_is_declared_and_not_used_says_nothing() =>
        Assert.Equal(BackupXml.Parse("<domainbackup/>"), BackupXml.Parse("<domainbackup xmlns:x='urn:x'/>"));

    [Fact]
    public void Labels_that_name_no_model_may_be_several() =>
        Assert.Equal(2, BackupXml.Parse(Push(Labelled("<seclabel relabel='no'/><seclabel labelskip='yes'/>")))
            .Disks![0].Image!.Labels.Count);

    [Theory]
    [MemberData(nameof(Refused))]
    public void What_the_schema_refuses_is_refused_by_name(string xml, string message)
    {
        var exception = Assert.Throws<BackupException>(() => BackupXml.Parse(xml));
        Assert.Equal(ErrorClass.Schema, exception.Class);
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
        Assert.StartsWith(ErrorClass.Schema.ToText(), exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_type_that_only_a_network_disk_has_is_unsupported()
    {
        var exception = Assert.Throws<BackupException>(
            () => BackupXml.Parse(Push("<disk name='vda' type='network'/>")));
        Assert.Equal(ErrorClass.Unsupported, exception.Class);
    }

    [Theory]
    [InlineData("<disk name='x'/>", "no disk named 'x'")]
    [InlineData("<disk name='vda'/><disk name='vda'/>", "disk 'vda' specified twice")]
    [InlineData("<disk name='sda'/>", "disk 'sda' has no media")]
    [InlineData("<disk name='vdn'/>", "refusing to generate file name for disk 'vdn'")]
    [InlineData("<disk name='vda' backupmode='incremental'/>", "'incremental' backup mode of disk 'vda' requires")]
    public void What_does_not_fit_the_machine_is_refused_with_libvirts_words(string disks, string message)
    {
        var exception = Assert.Throws<BackupException>(
            () => BackupAlignment.Align(BackupXml.Parse(Push(disks)), s_machine, "S"));
        Assert.Equal(ErrorClass.Unsupported, exception.Class);
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_machine_without_disks_has_no_backup() =>
        Assert.Contains(
            "at least one disk",
            Assert.Throws<BackupException>(() => BackupAlignment.Align(new BackupDefinition(), [], "S")).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Without_a_list_all_that_can_be_written_take_part_and_a_running_backup_shows_names()
    {
        var aligned = BackupAlignment.Align(
            BackupXml.Parse(Pull("<server name='h' port='1'/>")), [s_machine[0], s_machine[1]], "S");
        Assert.Equal(
            """
            <domainbackup mode='pull'>
              <server transport='tcp' name='h' port='1'/>
              <disks>
                <disk name='vda' backup='yes' type='file' backupmode='full' exportname='vda'>
                  <driver type='qcow2'/>
                  <scratch file='/i/vda.S'/>
                </disk>
                <disk name='sda' backup='no'/>
              </disks>
            </domainbackup>

            """,
            BackupXml.Format(BackupAlignment.Complete(aligned)));
    }

    private static readonly DomainDisk[] s_machine =
    [
        new("vda") { Path = "/i/vda" },
        new("sda") { HasMedium = false },
        new("vdn") { Kind = ImageKind.Other },
        new("vdr") { Path = "/i/vdr", IsReadOnly = true },
    ];

    private static string Push(string disks) => $"<domainbackup><disks>{disks}</disks></domainbackup>";

    private static string Pull(string content) => $"<domainbackup mode='pull'>{content}</domainbackup>";

    private static string PullScratch(string more) =>
        Pull($"<server name='a'/><disks><disk name='a' type='file'>{more}<scratch file='/a'/></disk></disks>");

    private static string Labelled(string content) =>
        $"<disk name='a' type='file'><target file='/a'>{content}</target></disk>";

    private static string Encrypted(string content) =>
        "<disk name='a' type='file'><target file='/a'><encryption format='luks'>"
        + $"{content}</encryption></target></disk>";
}
