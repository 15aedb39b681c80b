using System.Text;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Tests.Xml;

/// <summary>XML that is made to harm: each is refused, within the limits, whatever its size.</summary>
public sealed class HostileXmlTests
{
    [Theory]
    [InlineData("<!DOCTYPE d [<!ENTITY a 'lol'><!ENTITY b '&a;&a;&a;&a;&a;'>]><domainbackup>&b;</domainbackup>")]
    [InlineData("<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domainbackup>&x;</domainbackup>")]
    [InlineData("<!DOCTYPE d SYSTEM 'http://127.0.0.1:1/d.dtd'><domainbackup/>")]
    [InlineData("<!DOCTYPE d><domainbackup/>")]
    [InlineData("<domainbackup>&undeclared;</domainbackup>")]
    [InlineData("<domainbackup/><domainbackup/>")]
    [InlineData("")]
    [InlineData("<domainbackup mode='push' mode='push'/>")]
    [InlineData("<domainbackup>\u0001</domainbackup>")]
    public void Document_types_entities_and_what_is_no_xml_are_refused(string xml) =>
        Refuse(xml, xml.Contains("DOCTYPE", StringComparison.Ordinal) ? "has a document type (<!DOCTYPE" : "");

    [Fact]
    public void Deep_nesting_is_refused() =>
        Refuse(string.Concat(Enumerable.Repeat("<a>", 100_000)), "deep");

    [Fact]
    public void Deep_nesting_in_what_is_carried_through_is_refused() =>
        Refuse(
            "<domaincheckpoint><domain>" + string.Concat(Enumerable.Repeat("<a>", 70))
            + string.Concat(Enumerable.Repeat("</a>", 70)) + "</domain></domaincheckpoint>",
            "deep");

    [Fact]
    public void Too_many_elements_are_refused() =>
        Refuse($"<a>{string.Concat(Enumerable.Repeat("<b/>", XmlLimits.MaximumElements))}</a>", "elements");

    [Fact]
    public void Too_many_attributes_are_refused() =>
        Refuse($"<a {string.Join(' ', Enumerable.Range(0, 65).Select(n => $"a{n}=''"))}/>", "attributes");

    [Fact]
    public void A_long_attribute_and_a_long_text_are_refused()
    {
        Refuse($"<a b='{new string('x', XmlLimits.MaximumAttributeLength + 1)}'/>", "attribute");
        Refuse($"<a>{new string('x', XmlLimits.MaximumTextLength + 1)}</a>");
    }

    [Fact]
    public void Too_many_disks_are_refused() =>
        Refuse(
            "<domainbackup><disks>" + string.Concat(Enumerable.Range(0, 257).Select(n => $"<disk name='v{n}'/>"))
            + "</disks></domainbackup>",
            "256 disks");

    /// <summary>A gibibyte in one attribute is not read: reading stops at the limit.</summary>
    [Fact]
    public void A_gibibyte_in_one_attribute_is_not_read()
    {
        using var source = new EndlessText("<domainbackup a='", 1L << 30);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var exception = Assert.Throws<BackupException>(() => BackupXml.Parse(source));
        Assert.Equal(ErrorClass.Schema, exception.Class);
        Assert.InRange(source.BytesRead, 1, 2 * XmlLimits.MaximumBytes);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 32 * XmlLimits.MaximumBytes);
    }

    private static void Refuse(string xml, string message = "")
    {
        foreach (var parse in new Action<string>[] { text => BackupXml.Parse(text), text => CheckpointXml.Parse(text) })
        {
            var exception = Assert.Throws<BackupException>(() => parse(xml));
            Assert.Equal(ErrorClass.Schema, exception.Class);
        }

        if (message.Length > 0)
        {
            var parse = xml.StartsWith("<domainc", StringComparison.Ordinal)
                ? (Action)(() => CheckpointXml.Parse(xml))
                : () => BackupXml.Parse(xml);
            Assert.Contains(message, Assert.Throws<BackupException>(parse).Message, StringComparison.Ordinal);
        }
    }

    // A beginning, then one letter for as long as is asked.
    private sealed class EndlessText(string head, long length) : Stream
    {
        private readonly byte[] _head = Encoding.UTF8.GetBytes(head);

        public long BytesRead { get; private set; }

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => length;

        public override long Position
        {
            get => BytesRead;
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count)
        {
            var read = (int)Math.Min(count, length - BytesRead);
            for (var index = 0; index < read; index++)
            {
                var at = BytesRead + index;
                buffer[offset + index] = at < _head.Length ? _head[at] : (byte)'x';
            }

            BytesRead += read;
            return read;
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
