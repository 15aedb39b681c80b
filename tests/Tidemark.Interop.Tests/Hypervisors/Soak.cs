namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// What takes minutes and shows little more than its smaller likeness in <c>./test</c> runs only when asked for:
/// <c>TIDEMARK_SOAK=1</c>.
/// </summary>
internal static class Soak
{
    public const string Variable = "TIDEMARK_SOAK";

    public static bool IsAsked => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } value && value != "0";
}
