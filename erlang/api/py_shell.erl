%%% @doc What the shells of `make' show first: versions, pools, Python, what to type next.
%%%
%%% Nothing else calls it. A release, a dependency, a node without a shell neither load nor print any of this. Each shell has a place
%%% where it calls somebody before its first prompt:
%%%
%%% ```
%%% erl -stdlib shell_prompt_func {py_shell,prompt}     asks for the text of each prompt
%%% lfe -repl py_shell -nobanner                        starts this module in place of its own shell
%%% iex -e :py_shell.banner(:elixir)                    evaluates before it asks
%%% '''
%%% @private
-module(py_shell).

-export([prompt/1, start/0, banner/1, text/2]).

-export_type([language/0]).
-type language() :: erlang | lfe | elixir.

%% How long a worker that has just started may take to tell its version.
-define(TOLD_MS, 10_000).

%% @doc The first prompt of Erlang's shell: once `py' serves, and behind the banner. All others are the shell's own.
-spec prompt([{history, pos_integer()}]) -> io_lib:chars().
prompt(Known) ->
    application:unset_env(stdlib, shell_prompt_func),
    banner(erlang),
    Number = proplists:get_value(history, Known, 1),
    case is_alive() of
        true -> io_lib:format("(~ts)~w> ", [node(), Number]);
        false -> io_lib:format("~w> ", [Number])
    end.

%% @doc LFE's shell, begun with the two banners. By a name that no call has: there is no LFE where this is compiled.
-spec start() -> pid().
start() ->
    spawn(fun() ->
        Shell = lfe_shell,
        case terminal() of
            none -> ok;
            _ -> io:put_chars(Shell:banner())
        end,
        banner(lfe),
        Shell:server()
    end).

%% @doc Start `py', and say what there is, where somebody reads it.
-spec banner(language()) -> ok.
banner(Language) ->
    Started = py_pools:start(),
    case terminal() of
        none -> ok;
        Style -> io:put_chars(text(Language, {Style, found(Started)}))
    end.

%% Where there is a terminal; with colours unless its user wants none (no-color.org).
terminal() ->
    case {io:columns(), os:getenv("NO_COLOR", ""), os:getenv("TERM", "dumb")} of
        {{error, _}, _, _} -> none;
        {_, "", Term} when Term =/= "dumb" -> coloured;
        _ -> plain
    end.

%% Of one that has just ended there may be nothing to tell.
found({error, Reason}) ->
    {failed, py_error:text(Reason)};
found({ok, started}) ->
    Workers = py_pools:workers(),
    Pools = [{Pool, length([Each || #{pool := Each} <- Workers, Each =:= Pool])} || Pool <- lists:sort(py_registry:pools())],
    {ok, version(py), Pools, python(Pools), lists:usort([Codec || #{codec := Codec} <- Workers, Codec =/= undefined])}.

version(Application) ->
    case application:get_key(Application, vsn) of
        {ok, Version} -> Version;
        undefined -> ""
    end.

python([]) ->
    none;
python([{Pool, _} | _]) ->
    try
        Options = #{pool => Pool, timeout => ?TOLD_MS, strings => binary},
        {py_call:func(func, [platform, python_version, Options]), py_call:const(const, [sys, executable, Options])}
    catch
        error:_ -> none
    end.

%% @doc The banner, of what was found. Pure.
-spec text(language(), {plain | coloured, Found}) -> unicode:chardata() when
    Found :: {failed, string()} | {ok, string(), [{atom(), non_neg_integer()}], none | {binary(), binary()}, [atom()]}.
text(Language, {Style, {failed, Reason}}) ->
    [bold(Style, "py did not start: "), Reason, "\n", rows([{doctor(Language), "what there is, what is missing, what to do about it"}, leaving(Language)])];
text(Language, {Style, {ok, Version, Pools, Python, Codecs}}) ->
    [
        bold(Style, ["py ", Version]), " on Erlang/OTP ", erlang:system_info(otp_release), python_text(Python, Codecs), "\n",
        pools_text(Pools), "\n",
        rows(next(Language) ++ [leaving(Language)])
    ].

bold(plain, Text) -> Text;
bold(coloured, Text) -> ["\e[1m", Text, "\e[0m"].

python_text(none, _) -> "";
python_text({Version, Executable}, Codecs) ->
    [", Python ", py_guard:visible(Version), " (", py_guard:visible(Executable), ")", [[", codec ", atom_to_list(Codec)] || Codec <- Codecs]].

pools_text([]) -> "no pool";
pools_text(Pools) -> [plural("pool", length(Pools)), " ", lists:join(", ", [io_lib:format("~tp: ~w ~ts", [Pool, Size, plural("worker", Size)]) || {Pool, Size} <- Pools])].

plural(Word, 1) -> Word;
plural(Word, _) -> [Word, "s"].

rows(Rows) ->
    Width = lists:max([length(Typed) || {Typed, _} <- Rows]),
    [["  ", string:pad(Typed, Width), "  ", Says, "\n"] || {Typed, Says} <- Rows].

next(erlang) ->
    [
        {"py:func(math, sqrt, [2]).", "calls Python"},
        {"py:func('numpy.linalg', det, [[[1, 2], [3, 4]]]).", "numpy's answer, where it is installed"},
        {"py:help().", "topics, then py:help(pools). and py:help(pmap)."}
    ];
next(lfe) ->
    [
        {"(py:func 'math 'sqrt '(2))", "calls Python"},
        {"(py:func 'numpy.linalg 'det '(((1 2) (3 4))))", "numpy's answer, where it is installed"},
        {"(py:help)", "topics, then (py:help 'pools) and (py:help 'pmap)"}
    ];
next(elixir) ->
    [
        {"Py.call(:math, :sqrt, [2])", "calls Python"},
        {"Py.call(\"numpy.linalg\", :det, [[[1, 2], [3, 4]]])", "numpy's answer, where it is installed"},
        {"h Py.call", "what a function takes; :py.help() has topics"}
    ].

doctor(erlang) -> "py:doctor().";
doctor(lfe) -> "(py:doctor)";
doctor(elixir) -> ":py.doctor()".

leaving(erlang) -> {"q().", "leaves"};
leaving(lfe) -> {"(q)", "leaves"};
leaving(elixir) -> {"System.halt()", "leaves, as does Ctrl-C twice"}.
