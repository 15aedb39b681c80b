using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>A plan as text: every command in order (<c>C:</c>) with what takes it back (<c>U:</c>).</summary>
public static class PlanText
{
    /// <summary>Renders a plan or a conflict; lines end with a line feed.</summary>
    public static string Render(PlanOutcome outcome) => outcome switch
    {
        PlanConflict conflict => $"conflict: {conflict}\n",
        BackupPlan plan => RenderPlan(plan),
        DomainBackupPlan plan => RenderPlan(plan),
        _ => throw new ArgumentException("neither a plan nor a conflict", nameof(outcome)),
    };

    /// <summary>One command as QMP's JSON, on one line, a space after each colon and comma.</summary>
    public static string Render(QmpCommand command)
    {
        var text = new StringBuilder();
        text.Append("{\"execute\": \"").Append(command.Name).Append('"');
        if (command.Arguments is { } arguments)
        {
            text.Append(", \"arguments\": ");
            Render(text, arguments);
        }

        return text.Append('}').ToString();
    }

    private static void Render(StringBuilder text, JsonNode? node)
    {
        switch (node)
        {
            case JsonObject item:
                text.Append('{');
                var isFirst = true;
                foreach (var (name, value) in item)
                {
                    text.Append(isFirst ? "" : ", ").Append('"').Append(JsonEncodedText.Encode(name)).Append("\": ");
                    Render(text, value);
                    isFirst = false;
                }

                text.Append('}');
                break;
            case JsonArray list:
                text.Append('[');
                for (var index = 0; index < list.Count; index++)
                {
                    text.Append(index == 0 ? "" : ", ");
                    Render(text, list[index]);
                }

                text.Append(']');
                break;
            case JsonValue value when value.GetValueKind() == JsonValueKind.String:
                // A path is shown as it is written: only what JSON demands is escaped.
                var encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
                text.Append('"').Append(JsonEncodedText.Encode(value.GetValue<string>(), encoder)).Append('"');
                break;
            default:
                text.Append(node?.ToJsonString() ?? "null");
                break;
        }
    }

    private static string RenderPlan(BackupPlan plan)
    {
        var text = new StringBuilder();
        text.Append($"{plan.Mode.ToText()} {plan.CheckpointId}\n");
        foreach (var disk in plan.Disks)
        {
            text.Append($"disk {disk.Name}: node {disk.NodeName}, {disk.Size} bytes, {disk.Kind.ToText()}");
            text.Append(disk.Reason.Length > 0 ? $" ({disk.Reason})" : "").Append('\n');
        }

        foreach (var note in plan.Notes)
        {
            text.Append($"note: {note}\n");
        }

        RenderSteps(text, plan.Steps);
        foreach (var disk in plan.Disks)
        {
            foreach (var old in disk.Superseded)
            {
                text.Append($"after success: remove bitmap {old.Name} of {old.Node}\n");
            }
        }

        return text.ToString();
    }

    private static string RenderPlan(DomainBackupPlan plan)
    {
        var text = new StringBuilder();
        text.Append($"{plan.Mode.ToText()} {plan.RunId}");
        text.Append(plan.Checkpoint is { } checkpoint ? $" checkpoint {checkpoint.Name}\n" : "\n");
        foreach (var disk in plan.Disks)
        {
            text.Append($"disk {disk.Name}: node {disk.NodeName}, {disk.Size} bytes, {disk.Mode.ToText()}");
            text.Append(disk.Since is { } since ? $" since {since}" : "");
            text.Append(disk.Reason.Length > 0 ? $" ({disk.Reason})" : "").Append('\n');
        }

        foreach (var note in plan.Notes)
        {
            text.Append($"note: {note}\n");
        }

        RenderSteps(text, plan.Steps);
        return text.ToString();
    }

    private static void RenderSteps(StringBuilder text, IReadOnlyList<PlanStep> steps)
    {
        foreach (var step in steps)
        {
            text.Append($"# {step.Purpose}\n");
            text.Append(Effect(step)).Append('\n');
            foreach (var undo in step.Undo.Reverse())
            {
                text.Append($"U: {Render(undo)}\n");
            }
        }
    }

    private static string Effect(PlanStep step) => step switch
    {
        PlanStep.CheckScratch check =>
            $"C: check that {string.Join(' ', check.Directories)} is here, with {check.FreeBytes} bytes free",
        PlanStep.MakeDirectory make => $"C: mkdir {make.Path}",
        PlanStep.Command command => $"C: {Render(command.Qmp)}",
        PlanStep.Job job => $"C: {Render(job.Qmp)}",
        PlanStep.CreateFile create => $"C: create {create.Path}",
        PlanStep.Unlink unlink => $"C: unlink {unlink.Path}",
        PlanStep.Serve serve => $"C: serve {string.Join(' ', serve.Exports)} at {serve.Address}",
        PlanStep.Transaction transaction => $"C: {Render(transaction.ToCommand())}",
        _ => "C: transfer",
    };

    private static string Render(UndoAction undo)
    {
        var commands = string.Join("; ", UndoCommands.Of(undo).Select(Render));
        return undo switch
        {
            UndoAction.LocalFile file => $"delete {file.Path}",
            UndoAction.ServerSocket file => $"delete {file.Path}",
            UndoAction.ScratchFile file => $"delete {file.Path}",
            UndoAction.TargetFile file => $"unless it succeeded: delete {file.Path}",
            UndoAction.CheckpointFile file => $"unless it succeeded: delete {file.Path}",
            UndoAction.LocalDirectory directory => $"delete directory {directory.Path}",
            UndoAction.CheckpointBitmap => $"unless it succeeded: {commands}",
            _ => commands,
        };
    }
}
