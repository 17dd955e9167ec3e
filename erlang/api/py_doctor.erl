%%% @doc What there is of all that py needs, what is missing, and what to do: for whoever asks why it does not start.
%%%
%%% Starts no pool and needs none: each pool of the configuration is looked at by itself.
%%% @private
-module(py_doctor).

-export([print/1, report/1]).

%% @doc Print the {@link report/1}.
-spec print([{atom(), string() | undefined | not_started | [string()]}]) -> ok.
print(Versions) -> io:put_chars(report(Versions)).

%% @doc Versions, then each pool: its interpreter, what that says of itself, or why there is none.
-spec report([{atom(), string() | undefined | not_started | [string()]}]) -> unicode:chardata().
report(Versions) ->
    [
        io_lib:format("Erlang/OTP ~ts, py ~ts, ~ts~n", [
            proplists:get_value(erlang, Versions),
            version(proplists:get_value(py, Versions)),
            case proplists:get_value(python, Versions) of
                not_started -> "not started";
                _ -> "running"
            end
        ]),
        [["! ", py_error:text({py, Reason}), "\n"] || {error, Reason} <- [py_session_options:configured(), py_config:max_shared_bytes(), py_config:environment()]],
        [["! ", py_options:describe(Problem), "\n"] || {ok, Unknown} <- [py_config:environment()], Problem <- Unknown],
        case py_config:pools() of
            {ok, Pools} -> [pool(Name, Config) || {Name, Config} <- lists:sort(maps:to_list(Pools))];
            {error, Reason} -> ["! ", py_error:text({py, Reason}), "\n"]
        end
    ].

version(undefined) -> "of an unknown version";
version(Version) -> Version.

pool(Name, Config) -> [io_lib:format("pool ~tp~n", [Name]), [["    ", Line, "\n"] || Line <- lines(looked_at(Config))]].

lines(Text) -> string:split(string:trim(unicode:characters_to_list(Text), trailing), "\n", all).

looked_at(Config) ->
    case py_launcher:find(Config) of
        {ok, Source, Python} -> [py_error:source_text(Source), "\n", py_launcher:ask(Config, Python, "--doctor")];
        {error, Reason} -> ["! ", py_error:start_text(Reason)]
    end.
