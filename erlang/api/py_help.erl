%%% @doc `py:help/0,1': pages by topic, and what a function does, for whoever sits before a shell.
%%%
%%% A page is data: what one types, what that does, which functions there are, which page of `docs/' has the rest. The text of a function is
%%% its own documentation, from its module's beam (EEP 48).
%%% @private
-module(py_help).

-export([print/0, print/1, topics/0, typed/1, names/1]).

%% Whose functions and whose own docs there are pages of. `py' comes first.
-define(MODULES, [py, py_session, py_run, py_function, py_env, py_service, py_cluster, py_dashboard, py_metrics, py_haystack, py_erlport, py_events]).
-define(MOST_NEAR, 6).

%% @doc Print which topics there are.
-spec print() -> ok.
print() ->
    Width = lists:max([length(atom_to_list(Topic)) || Topic <- topics()]),
    io:put_chars([
        "Topics; py:help(pools). prints one.\n\n",
        [["  ", string:pad(atom_to_list(Topic), Width), "  ", Summary, "\n"] || {Topic, Summary, _, _, _} <- pages()],
        "\nAny function by its name: py:help(pmap). Any module: py:help(py_session). The shell's own h(py, func). shows the same.\n"
        "What Python says of itself: py:help(<<\"math.sqrt\">>).\n"
    ]).

%% @doc Print the page of a topic, of functions of that name, of a module; of any other name, which ones come near.
-spec print(atom()) -> ok.
print(Name) ->
    case lists:keyfind(Name, 1, pages()) of
        false ->
            case [{Module, Name} || Module <- ?MODULES, lists:member(Name, functions(Module))] of
                [] -> module_or_near(Name, lists:member(Name, ?MODULES));
                Functions -> lists:foreach(fun function/1, Functions)
            end;
        Page ->
            io:put_chars(page(Page))
    end.

%% @doc The names of the topics.
-spec topics() -> [atom()].
topics() -> [Topic || {Topic, _, _, _, _} <- pages()].

%% @doc What the page of a topic has one type, line by line. For tests.
-spec typed(atom()) -> [string()].
typed(Topic) -> [Typed || {Typed, _} <- element(3, lists:keyfind(Topic, 1, pages()))].

%% @doc The functions that the page of a topic names. For tests.
-spec names(atom()) -> [{module(), atom()}].
names(Topic) -> element(4, lists:keyfind(Topic, 1, pages())).

page({Topic, Summary, Examples, Functions, Doc}) ->
    [
        atom_to_list(Topic), ": ", Summary, "\n\n",
        [[["  ", Typed, "\n"], [["      ", Says, "\n"] || Says =/= ""]] || {Typed, Says} <- Examples],
        "\n", wrapped(["Functions:" | [name(Function) || Function <- Functions]]), "\n"
        "py:help(", atom_to_list(element(2, hd(Functions))), "). says what one of them takes. All of it: docs/", Doc, "\n"
    ].

name({py, Function}) -> atom_to_list(Function);
name({Module, Function}) -> lists:concat([Module, ":", Function]).

wrapped(Words) ->
    {Lines, Last} = lists:foldl(
        fun(Word, {Done, Line}) ->
            case length(Line) + 1 + length(Word) of
                Long when Long > 100 -> {[Done, Line, "\n"], "  " ++ Word};
                _ -> {Done, Line ++ " " ++ Word}
            end
        end,
        {[], hd(Words)},
        tl(Words)
    ),
    [Lines, Last].

%% Also of a beam without docs; but not what only other modules of ours call.
functions(Module) ->
    {module, Module} = code:ensure_loaded(Module),
    Exported = [Function || {Function, _} <- Module:module_info(exports), Function =/= module_info],
    case code:get_doc(Module) of
        {ok, Docs} -> lists:usort(Exported) -- [Function || {{function, Function, _}, _, _, hidden, _} <- element(7, Docs)];
        {error, _} -> lists:usort(Exported)
    end.

%% Where the beam has no docs, since whoever compiled it had no edoc, what it exports is all there is to say.
function({Module, Function}) ->
    case code:get_doc(Module) of
        {ok, Docs} ->
            shown(shell_docs:render(Module, Function, Docs, style()), Module, Function),
            [io:format("It is Python's own. Its words: py:help(<<\"~ts\">>). or, of an operator, py:help(<<\"operator.~ts\">>).~n", [Function, Function]) || is_bare(Function, Docs)],
            ok;
        {error, _} ->
            undocumented(Module, Function)
    end.

%% Builtins and operators are documented in Python. (The seventh element of EEP 48's record are the entries.)
is_bare(Function, Docs) -> [Doc || {{function, Name, _}, _, _, Doc, _} <- element(7, Docs), Name =:= Function, Doc =/= none, Doc =/= #{}] =:= [].

shown({error, _}, Module, Function) -> undocumented(Module, Function);
shown(Text, _, _) -> io:put_chars([Text, "\n"]).

undocumented(Module, Function) ->
    io:put_chars([[lists:concat([Module, ":", Name, "/", Arity]), "\n"] || {Name, Arity} <- Module:module_info(exports), Name =:= Function]).

module_or_near(Module, true) ->
    case code:get_doc(Module) of
        {ok, Docs} -> shown(shell_docs:render(Module, Docs, style()), Module, Module);
        {error, _} -> io:format("~w has no docs in its beam~n", [Module])
    end;
module_or_near(Name, false) ->
    io:put_chars([
        io_lib:format("There is no topic, function or module ~tp.", [Name]),
        case near(Name) of
            [] -> "";
            Near -> [" Did you mean: ", lists:join(", ", [atom_to_list(Each) || Each <- Near]), "?"]
        end,
        "\nTopics: ", lists:join(", ", [atom_to_list(Topic) || Topic <- topics()]), "\n",
        case unicode:characters_to_list(io_lib:format("~tp", [atom_to_binary(Name)])) of
            Quoted -> ["What Python says of that name: py:help(", Quoted, ").\n"]
        end
    ]).

%% Those that differ little, and those that have it in them.
near(Name) ->
    Text = atom_to_list(Name),
    Known = lists:usort(topics() ++ lists:append([functions(Module) || Module <- ?MODULES]) ++ ?MODULES),
    Nearest = py_nearest:all(Name, Known),
    Contain = [Each || length(Text) > 2, Each <- Known, string:find(atom_to_list(Each), Text) =/= nomatch],
    lists:sublist(Nearest ++ (Contain -- Nearest), ?MOST_NEAR).

style() ->
    case {io:columns(), os:getenv("NO_COLOR", ""), os:getenv("TERM", "dumb")} of
        {{ok, Columns}, "", Term} when Term =/= "dumb" -> #{ansi => true, columns => Columns};
        _ -> #{ansi => false}
    end.

pages() ->
    [
        {calls, "call functions, read constants, make objects, call their methods",
            [
                {"py:func(math, sqrt, [2]).", "a function of a module; 1.4142135623730951"},
                {"py:func(builtins, int, [<<\"101010\">>], [{base, 2}]).", "keywords; a binary is a str, {bytes, B} is bytes"},
                {"py:func(time, sleep, [0.1], #{timeout => 5000}).", "options are a map, the last argument; times are milliseconds"},
                {"Now = py:func('datetime.datetime', now).", "dates and the like are tagged tuples, which go back as what they were"},
                {"py:method(Now, strftime, [<<\"%H:%M\">>]).", ""},
                {"py:attr(Now, year).", ""},
                {"py:const(math, pi).", ""}
            ],
            [{py, func}, {py, init}, {py, const}, {py, attr}, {py, method}, {py, pycall}, {py, cast}, {py, release}], "functions.md"},
        {values, "how values map, and how to have binaries and maps",
            [
                {"py:func(json, loads, [<<\"{\\\"a\\\": \\\"x\\\"}\">>]).", "{\"dict\", [{\"a\", \"x\"}]}: texts are strings, dicts are tagged"},
                {"py:func(json, loads, [<<\"{\\\"a\\\": \\\"x\\\"}\">>], #{strings => binary, dicts => map}).", "#{<<\"a\">> => <<\"x\">>}"},
                {"py:prepr(py:range(3)).", "prints Python's repr of anything, of what stays in Python, too"}
            ],
            [{py, prepr}, {py, ptype}, {py, pdir}, {py, pvars}, {py, repr}, {py, str}], "values.md"},
        {errors, "the three kinds of failure, and what to do when py does not start",
            [
                {"catch py:truediv(1, 0).", "Python raised: error({python, Class, Text, Traceback})"},
                {"catch py:func(time, sleep, [60], #{timeout => 100}).", "the bridge failed: error({py, Reason})"},
                {"catch py:func(math, sqrt, 2).", "a wrong argument: error(badarg), and nothing was sent"},
                {"py:doctor().", "prints what there is, what is missing, and what to do about it"}
            ],
            [{py, doctor}, {py, restart_worker}], "errors.md"},
        {pools, "named pools of Pythons, each with options and an interpreter of its own",
            [
                {"py:start_pool(tea, #{size => 2, env => [{\"TEA\", \"green\"}]}).", "python => {venv, \"/srv/ml\"} names an interpreter"},
                {"py:func(os, getenv, [<<\"TEA\">>], #{pool => tea}).", ""},
                {"py:resize(tea, 3).", ""},
                {"py:status(tea).", "each worker; py:top(). shows them live"},
                {"py:stats(tea).", "calls, errors, waiting and running times"},
                {"py:stop_pool(tea).", ""}
            ],
            [{py, start_pool}, {py, stop_pool}, {py, restart_pool}, {py, child_spec}, {py, resize}, {py, add_worker}, {py, remove_worker},
                {py, restart_worker}, {py, reload}, {py, workers}, {py, status}, {py, top}, {py, stats}, {py, with_worker}], "servers.md"},
        {parallel, "calls in the background, over long lists, on every worker",
            [
                {"Handle = py:async(math, factorial, [20]).", ""},
                {"py:await(Handle).", "2432902008176640000"},
                {"py:pmap(math, sqrt, lists:seq(1, 1000)).", "in chunks, on all workers, in the order of the list"},
                {"py:preduce(operator, add, lists:seq(1, 1000)).", "500500"},
                {"py:gather(py:scatter(operator, truediv, [[6, N] || N <- [1, 2, 3]])).", "[6.0, 3.0, 2.0]"}
            ],
            [{py, pmap}, {py, preduce}, {py, pfold}, {py, pmap_reduce}, {py, async}, {py, await}, {py, yield}, {py, cancel}, {py, scatter},
                {py, gather}, {py, gather_all}, {py, fold_done}, {py, send_request}, {py, check_response}, {py, call_all}, {py, call_n}], "parallel.md"},
        {streams, "read a generator item by item, let Python iterate over items of Erlang's",
            [
                {"Multiples = py:stream(itertools, count, [0, 7]).", ""},
                {"py:stream_next(Multiples).", "{ok, 0}; Python is at most `window' items ahead"},
                {"py:stream_close(Multiples).", ""},
                {"Numbers = py:source(fun() -> case get() of _ -> done end end).", "an argument; the fun gives {ok, Item}, a list of items, or done"},
                {"py:func(builtins, sum, [Numbers]).", ""}
            ],
            [{py, stream}, {py, stream_next}, {py, stream_fold}, {py, stream_close}, {py, source}], "streams.md"},
        {sessions, "run blocks of Python code in a namespace that stays",
            [
                {"Session = py_session:open(#{persistent => true}).", "sandbox => bwrap puts it into a box"},
                {"py_session:define(Session, words, [<<\"tea\">>, <<\"cup\">>]).", ""},
                {"py_session:eval(Session, \"from collections import Counter\\nlen(Counter(words))\").", "2"},
                {"py_session:close(Session).", ""}
            ],
            [{py_session, open}, {py_session, own}, {py_session, define}, {py_session, eval}, {py_session, exec}, {py_session, fork},
                {py_session, interrupt}, {py_session, status}, {py_session, list}, {py_session, close}], "sessions.md"},
        {arrays, "arrays in shared memory: many workers read them, nobody copies them",
            [
                {"Shm = py:share(binary:copy(<<\"0123456789abcdef\">>, 65536)).", "one MiB"},
                {"py:func(zlib, crc32, [Shm]).", "arrays => shared has results come so, too"},
                {"[py:len(Part) || Part <- py:split(Shm, 3)].", ""},
                {"byte_size(py:value(Shm)).", ""},
                {"py:release(Shm).", ""}
            ],
            [{py, share}, {py, split}, {py, value}, {py, release}, {py, shared_memory}], "shared-arrays.md"},
        {clusters, "Python servers on other nodes, calls to one of them or to all",
            [
                {"py_cluster:status().", "nodes, pools, workers"},
                {"py:func(math, sqrt, [2], #{node => node()}).", "at a node"},
                {"py:pmap(math, factorial, [1, 2, 3], #{scope => cluster}).", "on the workers of all; py_cluster:start(Node). starts py there"}
            ],
            [{py_cluster, start}, {py_cluster, stop}, {py_cluster, connect}, {py_cluster, nodes}, {py_cluster, workers}, {py_cluster, status},
                {py_cluster, push}, {py_cluster, unpush}], "distributed.md"},
        {functions, "durable runs, written down before they begin; functions kept in projects; environments built for them",
            [
                {"{ok, Run} = py_run:start(math, factorial, [5]).", "it goes on when a worker, the node or the machine is lost"},
                {"py_run:wait(Run).", ""},
                {"py_run:result(Run).", "{ok, 120}"},
                {"py_run:list(#{state => 'ERROR'}).", "py_env:build(#{requirements => [<<\"numpy\">>]}). makes an environment"}
            ],
            [{py_run, start}, {py_run, wait}, {py_run, result}, {py_run, run}, {py_run, list}, {py_run, logs}, {py_run, stop}, {py_run, retry},
                {py_run, delete}, {py_function, start}, {py_function, results}, {py_function, outputs}, {py_env, build}, {py_env, list},
                {py_env, prune}], "functions-runs.md"},
        {services, "a Python function answers HTTP requests; the page; figures for Prometheus",
            [
                {"py_service:list().", "py_service:start(#{handler => \"hello:handler\"}). starts one, of hello.py"},
                {"py_metrics:text().", "what Prometheus reads"},
                {"py_dashboard:url().", "py_dashboard:start(). serves a page that shows what the node does"}
            ],
            [{py_service, start}, {py_service, url}, {py_service, invoke}, {py_service, list}, {py_service, stop}, {py_dashboard, start},
                {py_dashboard, url}, {py_dashboard, stop}, {py_metrics, text}], "services.md"}
    ].
