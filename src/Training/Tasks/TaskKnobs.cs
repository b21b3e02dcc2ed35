using System.Globalization;
using System.Reflection;
using System.Text.Json;
using Bellman.Kernels;

namespace Bellman.Training.Tasks;

/// <summary>
/// Tasks with settings that are named in a file. A family's knobs are the properties of the settings record that its
/// constructor takes, in snake case: <c>min_distance</c> for <see cref="BoardSettings.MinDistance"/>.
/// </summary>
public static class TaskKnobs
{
    /// <summary>The knobs of a family with their defaults.</summary>
    /// <exception cref="BellmanException">No family has that name.</exception>
    public static IReadOnlyDictionary<string, double> Of(string family)
    {
        object settings = Activator.CreateInstance(Settings(family))!;
        return Properties(settings.GetType()).ToDictionary(x => x.Key, x => Convert.ToDouble(x.Value.GetValue(settings), CultureInfo.InvariantCulture));
    }

    /// <summary>A task of a family with some knobs set.</summary>
    /// <param name="family">One of <see cref="ReasoningTasks.Names"/>.</param>
    /// <param name="knobs">Values by name; the others keep their defaults.</param>
    /// <exception cref="BellmanException">The family or a knob is unknown, or a value is out of range.</exception>
    public static IReasoningTask Create(string family, IReadOnlyDictionary<string, double> knobs)
    {
        object settings = Activator.CreateInstance(Settings(family))!;
        Dictionary<string, PropertyInfo> known = Properties(settings.GetType());
        foreach ((string name, double value) in knobs)
        {
            if (!known.TryGetValue(name, out PropertyInfo? property))
            {
                string near = NearName.Find(name, known.Keys) is { } found ? $" Did you mean '{found}'?" : "";
                throw new BellmanException($"task {family}: expected one of the knobs {string.Join(", ", known.Keys)}, received '{name}'.{near}");
            }
            if (property.PropertyType == typeof(int))
            {
                if (value != Math.Truncate(value) || Math.Abs(value) > int.MaxValue)
                    throw new BellmanException($"task {family}: {name} must be a whole number, received {value.ToString(CultureInfo.InvariantCulture)}.");
                property.SetValue(settings, (int)value);
            }
            else
            {
                property.SetValue(settings, value);
            }
        }
        try
        {
            return (IReasoningTask)Constructor(family).Invoke([settings]);
        }
        catch (TargetInvocationException error) when (error.InnerException is BellmanException problem)
        {
            throw problem;
        }
    }

    private static ConstructorInfo Constructor(string family) => ReasoningTasks.Create(family).GetType().GetConstructors().Single(x => x.GetParameters().Length == 1);

    private static Type Settings(string family) => Constructor(family).GetParameters()[0].ParameterType;

    private static Dictionary<string, PropertyInfo> Properties(Type settings) => settings.GetProperties()
        .Where(x => x.CanWrite && (x.PropertyType == typeof(int) || x.PropertyType == typeof(double)))
        .ToDictionary(x => JsonNamingPolicy.SnakeCaseLower.ConvertName(x.Name), StringComparer.Ordinal);
}
