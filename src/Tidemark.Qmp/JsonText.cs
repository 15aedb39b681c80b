using System.Text.Encodings.Web;
using System.Text.Json;

namespace Tidemark.Qmp;

/// <summary>How JSON is written: on one line, with nothing escaped that JSON lets stand.</summary>
internal static class JsonText
{
    internal static JsonWriterOptions WriterOptions { get; } = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        MaxDepth = QmpLimits.MaximumNesting + 8,
        SkipValidation = true,
    };
}
