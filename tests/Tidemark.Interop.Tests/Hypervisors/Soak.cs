namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// What takes minutes and shows little more than its smaller likeness in <c>./test</c> runs only when asked for:
/// <c>TIDEMARK_SOAK=1</c>, or only some versions of it: <c>TIDEMARK_SOAK=11.1,ours</c>.
/// </summary>
internal static class Soak
{
    public const string Variable = "TIDEMARK_SOAK";

    /// <summary>Whether a version's part is asked for.</summary>
    public static bool Wants(string version) =>
        Environment.GetEnvironmentVariable(Variable) is "1" or null || Environment.GetEnvironmentVariable(Variable)!
            .Split(',').Contains(version);

    public static bool IsAsked => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } value && value != "0";
}
