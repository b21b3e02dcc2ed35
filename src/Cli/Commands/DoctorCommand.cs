using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Kernels.Cuda;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman doctor</c>.</summary>
internal static class DoctorCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("doctor", "says what this machine offers: devices, driver, memory, disk, and why something is not used")
        {
            Examples = [("bellman doctor", "what was looked for, what was found")],
        };
        command.Add(json);
        command.SetAction(parsed =>
        {
            MachineReport report = MachineReport.Collect(Environment.CurrentDirectory);
            if (parsed.GetValue(json)) WriteJson(terminal.Output, report);
            else WriteText(terminal.Output, report);
            return ExitCodes.Success;
        });
        return command;
    }

    private static void WriteText(TextWriter output, MachineReport report)
    {
        output.WriteLine($"system    {report.System}");
        output.WriteLine($"runtime   {report.Runtime}");
        output.WriteLine($"cpu       {report.Threads} threads, {report.VectorBits}-bit vectors ({(report.InstructionSets.Count == 0 ? "no wide instruction set" : string.Join(", ", report.InstructionSets))})");
        output.WriteLine($"memory    {Sizes.Text(report.MemoryBytes)} for this process");
        output.WriteLine($"disk      {(report.FreeDiskBytes is { } free ? $"{Sizes.Text(free)} free" : "free space unknown")} at {report.Folder}");
        output.WriteLine($"cuda      {(report.Cuda is { } card ? $"{card.Description}{(card.Memory is { } memory ? $", {Sizes.Text(memory.Free)} of {Sizes.Text(memory.Total)} free" : "")}" : "not used")}");
        foreach (CudaDriverProbe probe in report.Drivers) output.WriteLine($"          looked for {probe.Library}: {(probe.Found ? "found" : "not found")}; {probe.Answer}");
        if (report.CudaProblem is { } problem) output.WriteLine($"          {problem}");
        output.WriteLine($"          {report.Silicon.Kernels} kernels, {report.Silicon.Unseen} of them have never run on a card, only in the simulator{(report.Silicon.Unseen == 0 ? "" : $"; to check a card: {SiliconRecord.Check}")}");
    }

    private static void WriteJson(TextWriter output, MachineReport report) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        json.WriteString("system", report.System);
        json.WriteString("runtime", report.Runtime);
        json.WriteStartObject("cpu");
        json.WriteNumber("threads", report.Threads);
        json.WriteNumber("vector_bits", report.VectorBits);
        json.WriteStartArray("instruction_sets");
        foreach (string set in report.InstructionSets) json.WriteStringValue(set);
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteNumber("memory_bytes", report.MemoryBytes);
        if (report.FreeDiskBytes is { } free) json.WriteNumber("free_disk_bytes", free);
        else json.WriteNull("free_disk_bytes");
        json.WriteStartObject("cuda");
        json.WriteBoolean("used", report.Cuda is not null);
        if (report.CudaProblem is { } problem) json.WriteString("reason", problem);
        if (report.Cuda is { } card)
        {
            json.WriteString("card", card.Description);
            if (card.Memory is { } memory)
            {
                json.WriteNumber("free_bytes", memory.Free);
                json.WriteNumber("memory_bytes", memory.Total);
            }
        }
        json.WriteNumber("kernels", report.Silicon.Kernels);
        json.WriteNumber("kernels_never_run", report.Silicon.Unseen);
        json.WriteStartArray("looked_for");
        foreach (CudaDriverProbe probe in report.Drivers)
        {
            json.WriteStartObject();
            json.WriteString("library", probe.Library);
            json.WriteBoolean("found", probe.Found);
            json.WriteString("answer", probe.Answer);
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }));
}
