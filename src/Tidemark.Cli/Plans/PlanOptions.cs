using System.CommandLine;

namespace Tidemark.Cli.Plans;

/// <summary>The kinds of options that plans have.</summary>
internal static class PlanOptions
{
    /// <summary>Adds an option that must be given.</summary>
    public static Option<string> AddRequired(this Command command, string name, string help, string description)
    {
        var option = new Option<string>(name) { Description = description, HelpName = help, Required = true };
        command.Add(option);
        return option;
    }
}
